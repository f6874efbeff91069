"""``df.llm`` and ``series.llm``: the verbs, thin. Each checks options, builds prompts, runs them, places the results.

``frame`` gives the object for one frame or series; ``register`` puts it on pandas' classes, as ``llm`` or, when another
library has that name, as ``pnb``. The engine is looked up when a verb runs: pandas keeps accessors with their frame.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from pagednb import runtime
from pagednb.dataframe import registration
from pagednb.dataframe.extract_run import Extraction, required_schema, schema_params
from pagednb.dataframe.extracted import ExtractedColumns
from pagednb.dataframe.job import awaitable
from pagednb.dataframe.options import DEFAULT_MAX_TOKENS, row_sampling_params
from pagednb.dataframe.preview import Preview, preview_rows
from pagednb.dataframe.progress import ProgressOption
from pagednb.dataframe.prompts import frame_prompts, series_prompts
from pagednb.dataframe.results import (
    ErrorPolicy,
    check_result_options,
    frame_with_results,
    listed_failures,
    report_failures,
    series_with_results,
)
from pagednb.dataframe.retry import retry_rows
from pagednb.dataframe.row_job import RowOutcome
from pagednb.dataframe.row_sample import RowSample
from pagednb.dataframe.run import VerbRun, start_run
from pagednb.dataframe.run_options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.truncation import TruncateOption
from pagednb.errors import OptionError
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

DEFAULT_INTO = "generated"


class FrameAccessor:
    """Language-model verbs over the rows of a frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def generate(
        self,
        template: Hashable,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        into: str = DEFAULT_INTO,
        errors: ErrorPolicy = "coerce",
        progress: ProgressOption = None,
        sample: int | None = None,
        random_state: int = 0,
        truncate: TruncateOption = "error",
        cache: CacheOption = True,
        checkpoint: CheckpointOption = None,
        background: bool = False,
        sampling_params: SamplingParams | None = None,
        **sampling: Any,
    ) -> Any:
        """Return a copy of the frame with a column of generated text; with ``background=True`` a ``Job`` for it.

        Args:
            template: A column, or a text with columns as fields: ``"Classify: {text}"``, ``"{price:.2f}"``,
                ``"{ticket text}"``. Braces that are not fields, JSON among them, stay as they are. Cells that are not
                text become text as ``str`` does it.
            system: Instruction for every row, taken as it stands. Needs a model with a chat template.
            max_tokens: New tokens a row at most, 256 if not given. A text cut there is no error; it is counted.
            temperature: 0 is greedy. Not given: what the model's authors recommend, else 0.
            top_p: Sample from the most likely tokens that together reach this probability.
            top_k: Sample from so many tokens at most.
            seed: Makes a sampled run repeatable, and lets equal rows share one answer.
            stop: Text or texts that end the answer.
            into: The new column; in the copy, one of this name is replaced, and so is ``<into>_error``.
            errors: "coerce": a failed row is NA, its reason stands in ``<into>_error``, one warning sums up.
                "raise": RowErrors after the run.
            progress: True or False for a bar, a callable for figures, None for ``PAGEDNB_PROGRESS``.
            sample: A trial run of so many rows without NA; the others are NA. Cache and checkpoint keep what it
                computes, so the full run has these rows for nothing.
            random_state: Chooses other rows for the sample.
            truncate: A row too long for the model fails with "error". "left", "right" and "middle" cut its values
                there until prompt and answer fit, and mark the cut with "…"; the template itself is never cut.
            cache: True: deterministic answers are kept in memory, so the same cell again costs nothing. A path: they
                are kept in that file too, for the next kernel. False: nothing is taken or kept.
            checkpoint: A folder, or a ``Checkpoint``, that keeps rows as they are done, sampled ones too. The same
                cell run again, after whatever ended it, goes on from there and computes failed rows again.
            background: Return a ``Job`` at once; the run goes on while other cells run.
            sampling_params: All sampling options at once, instead of single ones.
            **sampling: Any other option of SamplingParams.

        A row with NA in a used column gets NA and is not sent. Equal rows are computed once when the answer is
        deterministic. ``attrs["pagednb"]`` of the result holds the run's figures.

        Raises:
            TemplateError: ``template`` is no column and has no field, or an unknown one.
            OptionError: an unknown option or a value out of range.
            EngineNotLoadedError: nothing was loaded.
            CheckpointError: the checkpoint belongs to another run; says what differs.
            RowErrors: rows failed and ``errors="raise"``.
        """
        prompts = frame_prompts(self._frame, template)
        sampling |= {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        sampling |= {"seed": seed, "stop": stop}
        check_result_options(into, errors)
        rows = RowSample.of(sample, random_state)
        options = RunOptions(sample=rows, truncate=truncate, cache=cache, checkpoint=checkpoint, background=background)
        engine, params = _engine_and_params(sampling_params, sampling, system)
        details = {"verb": "generate", "template": str(template), "into": into, "truncate": truncate}

        def place(outcome: RowOutcome) -> pd.DataFrame:
            figures = _figures(outcome, engine, params, system=system) | details
            return frame_with_results(self._frame, outcome, into, figures)

        verb = VerbRun(
            engine=engine,
            prompts=prompts,
            params=params,
            system=system,
            spec={"verb": "generate", "template": str(template)},
            place=place,
            report=lambda outcome: report_failures(self._frame, outcome, into, errors),
        )
        return start_run(verb, options, progress)

    agenerate = awaitable(generate)

    def extract(
        self,
        template: Hashable,
        *,
        schema: Any = None,
        expand: bool = True,
        into: str | None = None,
        response_format: Any = None,
        system: str | None = None,
        errors: ErrorPolicy = "coerce",
        progress: ProgressOption = None,
        sample: int | None = None,
        random_state: int = 0,
        truncate: TruncateOption = "error",
        cache: CacheOption = True,
        checkpoint: CheckpointOption = None,
        background: bool = False,
        sampling_params: SamplingParams | None = None,
        **sampling: Any,
    ) -> Any:
        """Return a copy of the frame with a typed column for each field of a schema.

        Args:
            template: As in ``generate``. The fields in words, with their descriptions, are put before it.
            schema: A pydantic model, a dataclass, a TypedDict, a dict of types such as
                ``{"brand": str, "year": int | None}``, or JSON Schema. ``response_format`` is the same option.
            expand: True: a column a field: text, ``Int64``, ``Float64``, ``boolean``, ``category`` with all choices
                of an Enum or Literal, Python objects for anything nested. False: one column of dicts, or of instances
                where a class was given.
            into: Columns are called ``<into>_<field>``, and those of the name are replaced. Without it they have the
                fields' plain names, which the frame must not have. With ``expand=False`` the column's name,
                "extracted" if not given. Reasons of failed rows are in ``<into>_error``.
            system, errors, progress, sample, random_state, truncate, cache, checkpoint, background, sampling_params,
            **sampling: As in ``generate``; greedy by default. An answer cut at ``max_tokens`` is a failed row.

        Raises:
            SchemaError: the schema holds what is not supported.
            OptionError: a column of a field's name is there already, or as in ``generate``.
            TemplateError, EngineNotLoadedError, RowErrors: as in ``generate``.
        """
        target = ExtractedColumns(required_schema(schema, response_format), into, expand)
        target.check(self._frame.columns)
        check_result_options(target.error_into, errors)
        rows = RowSample.of(sample, random_state)
        options = RunOptions(sample=rows, truncate=truncate, cache=cache, checkpoint=checkpoint, background=background)
        prompts = frame_prompts(self._frame, template)
        engine, params = _engine_and_params(schema_params(sampling_params, sampling, target.schema), {}, system)
        extraction = Extraction(data=self._frame, target=target, template=str(template), system=system, errors=errors)
        return start_run(extraction.as_run(engine, prompts, params), options, progress)

    aextract = awaitable(extract)

    def retry(
        self,
        into: str,
        *,
        truncate: TruncateOption | None = None,
        errors: ErrorPolicy = "coerce",
        progress: ProgressOption = None,
    ) -> pd.DataFrame:
        """Return a copy in which the rows with a reason in ``<into>_error`` were run again, as they were run first.

        Args:
            into: What the run called its column.
            truncate: Cut rows that are too long, where the first run failed them.
            errors, progress: As in ``generate``.

        Raises:
            OptionError: the frame does not know the run, or another model made it.
            NotSupportedYetError: a verb, or an extract of objects, whose run the frame cannot repeat.
        """
        changed = {"errors": errors, "progress": progress} | ({} if truncate is None else {"truncate": truncate})
        model = runtime.get_engine().resolved.name
        return retry_rows(self._frame, into, model, lambda rows, verb: getattr(FrameAccessor(rows), verb), **changed)

    def preview(
        self,
        template: Hashable,
        *,
        n: int = 3,
        system: str | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        truncate: TruncateOption = "error",
    ) -> Preview:
        """Return what ``generate`` would send, with token counts and the expected time. The model does nothing.

        ``n`` prompts are shown as the model would see them; ``.frame`` holds them.

        Raises:
            TemplateError, OptionError, EngineNotLoadedError: as in ``generate``.
        """
        prompts = frame_prompts(self._frame, template)
        return preview_rows(runtime.get_engine(), prompts, n=n, system=system, max_tokens=max_tokens, truncate=truncate)

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self._frame)} rows: generate, extract, preview, retry, review"


class SeriesAccessor:
    """Language-model verbs over the values of a series."""

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    def generate(
        self,
        template: str | None = None,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        errors: ErrorPolicy = "coerce",
        progress: ProgressOption = None,
        sample: int | None = None,
        random_state: int = 0,
        truncate: TruncateOption = "error",
        cache: CacheOption = True,
        checkpoint: CheckpointOption = None,
        background: bool = False,
        sampling_params: SamplingParams | None = None,
        **sampling: Any,
    ) -> Any:
        """Return generated texts as a series with the same index and name.

        ``template`` is a text with the field ``{}``, ``{value}`` or the series' own name; without one the value itself
        is the prompt. Reasons of failed rows are in ``attrs["pagednb"]["failures"]``. Everything else is as in
        ``df.llm.generate``.

        Raises:
            TemplateError, OptionError, EngineNotLoadedError, CheckpointError, RowErrors: as in ``df.llm.generate``.
        """
        prompts = series_prompts(self._series, template)
        sampling |= {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        sampling |= {"seed": seed, "stop": stop}
        check_result_options(DEFAULT_INTO, errors)
        rows = RowSample.of(sample, random_state)
        options = RunOptions(sample=rows, truncate=truncate, cache=cache, checkpoint=checkpoint, background=background)
        engine, params = _engine_and_params(sampling_params, sampling, system)

        def place(outcome: RowOutcome) -> pd.Series:
            figures = _figures(outcome, engine, params, system=system) | {"verb": "generate", "template": template}
            return series_with_results(self._series, outcome, figures)

        verb = VerbRun(
            engine=engine,
            prompts=prompts,
            params=params,
            system=system,
            spec={"verb": "generate", "template": template},
            place=place,
            report=lambda outcome: report_failures(self._series, outcome, DEFAULT_INTO, errors),
        )
        return start_run(verb, options, progress)

    agenerate = awaitable(generate)

    def extract(
        self,
        template: str | None = None,
        *,
        schema: Any = None,
        expand: bool = True,
        response_format: Any = None,
        system: str | None = None,
        errors: ErrorPolicy = "coerce",
        progress: ProgressOption = None,
        sample: int | None = None,
        random_state: int = 0,
        truncate: TruncateOption = "error",
        cache: CacheOption = True,
        checkpoint: CheckpointOption = None,
        background: bool = False,
        sampling_params: SamplingParams | None = None,
        **sampling: Any,
    ) -> Any:
        """Return a frame with a typed column for each field, or with ``expand=False`` a series of objects.

        ``template`` is as in ``generate``, everything else as in ``df.llm.extract``. Reasons of failed rows are in
        ``attrs["pagednb"]["failures"]``.

        Raises:
            SchemaError, TemplateError, OptionError, EngineNotLoadedError, RowErrors: as in ``df.llm.extract``.
        """
        target = ExtractedColumns(required_schema(schema, response_format), None, expand)
        target.check(pd.Index([]))
        check_result_options(target.error_into, errors)
        rows = RowSample.of(sample, random_state)
        options = RunOptions(sample=rows, truncate=truncate, cache=cache, checkpoint=checkpoint, background=background)
        prompts = series_prompts(self._series, template)
        engine, params = _engine_and_params(schema_params(sampling_params, sampling, target.schema), {}, system)
        extraction = Extraction(data=self._series, target=target, template=template, system=system, errors=errors)
        return start_run(extraction.as_run(engine, prompts, params), options, progress)

    aextract = awaitable(extract)

    def preview(
        self,
        template: str | None = None,
        *,
        n: int = 3,
        system: str | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        truncate: TruncateOption = "error",
    ) -> Preview:
        """Return what ``generate`` would send; everything is as in ``df.llm.preview``."""
        prompts = series_prompts(self._series, template)
        return preview_rows(runtime.get_engine(), prompts, n=n, system=system, max_tokens=max_tokens, truncate=truncate)

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self._series)} values: generate, extract, preview"


_OWNERS = ((pd.DataFrame, FrameAccessor), (pd.Series, SeriesAccessor))


def frame(data: pd.DataFrame | pd.Series) -> FrameAccessor | SeriesAccessor:
    """Return the verbs for a frame or series, whether or not an accessor is registered.

    Raises:
        OptionError: ``data`` is neither.
    """
    if isinstance(data, pd.DataFrame):
        return FrameAccessor(data)
    if isinstance(data, pd.Series):
        return SeriesAccessor(data)
    raise OptionError(f"pagednb.frame takes a pandas DataFrame or Series, not {type(data).__name__}.")


def register() -> str | None:
    """Put the verbs on frames and series as ``llm``, or ``pnb`` where another library has that; return the name.

    None means that both are taken; ``pagednb.frame`` works all the same. A warning tells, once, if it is not ``llm``.
    """
    return registration.register(_OWNERS)


def unregister() -> None:
    """Take our accessors off pandas' classes; those of others stay."""
    registration.unregister(_OWNERS)


def _engine_and_params(
    sampling_params: SamplingParams | None, sampling: Mapping[str, Any], system: object
) -> tuple[LLMEngine, SamplingParams]:
    """Return the loaded engine and the parameters of a run on it."""
    if not isinstance(system, str | None):
        raise OptionError(f"system={system!r} is not valid.", hint="Give a text, or leave it out.")
    engine = runtime.get_engine()
    return engine, row_sampling_params(sampling_params, sampling, engine.resolved.generation_config)


def _figures(outcome: RowOutcome, engine: LLMEngine, params: SamplingParams, *, system: str | None) -> dict[str, Any]:
    return outcome.figures.as_attrs(
        model=engine.resolved.name, params=params, system=system, failures=listed_failures(outcome)
    )
