"""One benchmark from its options to its report: load the model, warm up, run every workload with every seed.

It may be interrupted at any point; ``report`` then holds what was done so far.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pagednb import envs
from pagednb.benchmark.batch_run import generate_timed
from pagednb.benchmark.figures import Figures, figure_row
from pagednb.benchmark.measured_engine import MeasuredEngine
from pagednb.benchmark.options import EMBEDDED, BenchmarkOptions, Choice, choose_workloads
from pagednb.benchmark.process_age import process_age_s
from pagednb.benchmark.report import Environment, Report, WorkloadResult
from pagednb.benchmark.runs import RUNS
from pagednb.benchmark.shapes import SHAPES, model_folder
from pagednb.benchmark.workloads import TimedRequest, make_workload
from pagednb.config import EngineConfig
from pagednb.engine.build import ModelEngineBuilder
from pagednb.engine.progress import load_bar

if TYPE_CHECKING:
    from pagednb.models.resolve import ResolvedModel

_NUM_WARM_UP = 64
_WARM_UP_TOKENS = (64, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Loaded:
    """What ``Report`` says of the engine, known once the model has given its first token."""

    dtype: str
    max_num_seqs: int
    num_kv_tokens: int
    load_s: float
    ready_s: float | None
    environment: Environment


class Benchmark:
    """Runs once. ``note`` gets a line for a person at each step of the way."""

    def __init__(self, options: BenchmarkOptions, *, note: Callable[[str], None] = lambda line: None) -> None:
        self._options = options
        self._note = note
        self._results: dict[str, dict[int, Figures]] = {}
        self._choice = Choice((), ())
        self._loaded: _Loaded | None = None
        self._is_complete = False

    def run(self) -> None:
        """Run all of it.

        Raises:
            PagednbError: the model cannot be loaded, a workload does not fit it, or the engine returned something else
                than it was asked for.
        """
        with contextlib.ExitStack() as stack:
            config = stack.enter_context(_engine_config(self._options))
            engine = stack.enter_context(self._load(config))
            self._warm_up(engine)
            for name in self._choice.names:
                for seed in self._options.seeds:
                    self._run_one(engine, name, seed)
        self._is_complete = True

    def report(self) -> Report | None:
        """Return what was found so far; None before the first workload has run."""
        if self._loaded is None or not self._results:
            return None
        loaded, options = self._loaded, self._options
        return Report(
            model=f"{options.model} (random weights)" if options.model in SHAPES else options.model,
            **vars(loaded),
            options=options.engine,
            seeds=options.seeds,
            num_rows=options.num_rows,
            is_complete=self._is_complete,
            notes=self._choice.notes,
            workloads=[WorkloadResult(name=name, runs=runs) for name, runs in self._results.items()],
        )

    def _load(self, config: EngineConfig) -> MeasuredEngine:
        start_s = time.perf_counter()
        with load_bar(is_shown=envs.show_progress()) as progress:
            engine = MeasuredEngine(config, ModelEngineBuilder(config), check=self._choose, progress=progress)
        load_s = time.perf_counter() - start_s
        prompt = make_workload("single", 0, vocab_size=engine.vocab_size)[0].prompt_token_ids
        generate_timed(engine.llm_engine, [TimedRequest(prompt, 1)])
        ready_s = process_age_s()
        resolved = engine.llm_engine.resolved
        self._loaded = _Loaded(
            dtype=resolved.dtype,
            max_num_seqs=engine.llm_engine.max_num_seqs,
            num_kv_tokens=engine.llm_engine.geometry.num_usable_tokens,
            load_s=load_s,
            ready_s=ready_s,
            environment=Environment.of(resolved.device),
        )
        self._note(f"loaded {self._options.model} in {load_s:.2f} s")
        if self._options.num_rows is None and not engine.has_device:
            self._note("On a CPU a whole workload takes minutes or more; --rows 32 gives a first look.")
        return engine

    def _choose(self, resolved: ResolvedModel) -> None:
        self._choice = choose_workloads(
            self._options, vocab_size=resolved.spec.vocab_size, max_model_len=resolved.max_model_len
        )

    def _warm_up(self, engine: MeasuredEngine) -> None:
        length, num_new = _WARM_UP_TOKENS
        requests = make_workload("chatlike", 0, vocab_size=engine.vocab_size)[: self._options.num_rows][:_NUM_WARM_UP]
        generate_timed(
            engine.llm_engine, [TimedRequest(request.prompt_token_ids[:length], num_new) for request in requests]
        )

    def _run_one(self, engine: MeasuredEngine, name: str, seed: int) -> None:
        run = RUNS[name]
        self._note(f"{name}, seed {seed} ...")
        figures = run.measure(engine, seed, self._options.num_rows)
        self._results.setdefault(name, {})[seed] = figures
        judged_by = figure_row(run.judged_by)
        self._note(
            f"{name}, seed {seed}: {judged_by.label} {judged_by.text_with_unit(getattr(figures, judged_by.name))}"
        )


@contextlib.contextmanager
def _engine_config(options: BenchmarkOptions) -> Iterator[EngineConfig]:
    """Yield the engine's options; a shape's folder lives as long as the block."""
    common = {**options.engine, "skip_tokenizer_init": True}
    if options.model in SHAPES:
        with tempfile.TemporaryDirectory(prefix="pagednb-bench-") as root:
            folder = model_folder(options.model, pathlib.Path(root))
            yield EngineConfig.from_options({**common, "model": folder, "load_format": "dummy"})
    else:
        yield EngineConfig.from_options({**common, "model": None if options.model == EMBEDDED else options.model})
