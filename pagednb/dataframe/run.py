"""One run of a verb, from checked options to the verb's result or a ``Job``: the one way every verb takes.

The verb says what to run and how results are placed; here the run is remembered, opened, watched and finished, in this
cell or in the background.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pagednb.dataframe.job import Job, Work
from pagednb.dataframe.last_run import LastRun, remember
from pagednb.dataframe.measured_speed import note_speed
from pagednb.dataframe.progress import ProgressOption, Watch, watch_with
from pagednb.dataframe.prompts import RowPrompts
from pagednb.dataframe.row_job import RowOutcome, Truncation, run_rows
from pagednb.dataframe.run_options import RunOptions
from pagednb.dataframe.truncation import prompt_limit
from pagednb.errors import OptionError
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerbRun(Generic[Result]):
    """What a verb wants run.

    Attributes:
        spec: what the verb was asked, as JSON types: verb, template, system and so on. The rest is added here.
        place: makes the verb's result from an outcome, whole or partial; warns of nothing.
        report: warns or raises for the rows that failed.
    """

    engine: LLMEngine
    prompts: RowPrompts
    params: SamplingParams
    system: str | None
    spec: Mapping[str, Any]
    place: Callable[[RowOutcome], Result]
    report: Callable[[RowOutcome], None]


def start_run(verb: VerbRun[Result], options: RunOptions, progress: ProgressOption) -> Result | Job[Result]:
    """Run, and return the verb's result; or with ``background`` a ``Job`` at once.

    Raises:
        OptionError: ``progress=True`` in the background, or a cache that cannot be used.
        CheckpointError: the checkpoint is another run's, or cannot be used.
        PagednbError: what ends a run, and what ``report`` raises.
    """
    if options.background and progress:
        raise OptionError(
            "A run in the background shows nothing by itself.", hint="Leave out progress=, and look at job.progress."
        )
    if options.sample is not None:
        verb = dataclasses.replace(verb, prompts=verb.prompts.sampled(options.sample))
    task = json.dumps(dataclasses.asdict(verb.params), sort_keys=True, default=str)
    resolved = verb.engine.resolved
    model = {"model": resolved.name, "revision": resolved.revision, "dtype": resolved.dtype}
    spec = {**verb.spec, **model, "system": verb.system, "truncate": options.truncate, "task": json.loads(task)}
    prompts = verb.prompts
    outcome = RowOutcome.empty(
        num_rows=prompts.num_rows, num_missing=prompts.num_missing, num_not_sampled=prompts.num_not_sampled
    )
    with contextlib.ExitStack() as opened:
        is_deterministic = verb.params.is_deterministic
        kept = opened.enter_context(
            options.kept_rows(verb.engine, spec, task=f"{verb.spec['verb']} {task}", is_deterministic=is_deterministic)
        )
        remember(LastRun(spec, outcome.figures, lambda: verb.place(outcome.copy())))
        still_open = opened.pop_all()

    def run(watch: Watch) -> RowOutcome:
        with still_open:  # closes cache and checkpoint on whatever thread the run ends
            return run_rows(
                verb.engine,
                iter(prompts),
                verb.params,
                num_rows=prompts.num_rows,
                system=verb.system,
                watch=watch,
                kept=kept,
                truncation=_truncation(verb, options),
                outcome=outcome,
            )

    def partial() -> Result:
        return verb.place(outcome.copy())

    def finish(outcome: RowOutcome) -> Result:
        note_speed(verb.engine, outcome.figures)
        result = verb.place(outcome)
        verb.report(outcome)
        return result

    if options.background:
        return Job(Work(num_rows=outcome.figures.rows, run=run, finish=finish, partial=partial))
    with still_open, watch_with(progress, outcome.figures.rows) as watch:
        run(watch)
    return finish(outcome)


def _truncation(verb: VerbRun[Any], options: RunOptions) -> Truncation | None:
    if options.truncate == "error":
        return None
    geometry = verb.engine.geometry
    limit = prompt_limit(geometry, verb.params.max_tokens or geometry.max_model_len)
    return Truncation(functools.partial(verb.prompts.shortened, side=options.truncate), limit)
