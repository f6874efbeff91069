"""``df.llm`` and ``series.llm``: the verbs, thin. Each checks options, builds prompts, runs them, places the results.

``frame`` gives the object for one frame or series; ``register`` puts it on pandas' classes, as ``llm`` or, when another
library has that name, as ``pnb``. The engine is looked up when a verb runs: pandas keeps accessors with their frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from pagednb import runtime
from pagednb.dataframe.options import row_sampling_params
from pagednb.dataframe.progress import ProgressOption, watch_with
from pagednb.dataframe.prompts import RowPrompts, frame_prompts, series_prompts
from pagednb.dataframe.results import (
    ErrorPolicy,
    check_result_options,
    frame_with_results,
    listed_failures,
    report_failures,
    series_with_results,
)
from pagednb.dataframe.row_job import RowOutcome, run_rows
from pagednb.errors import OptionError
from pagednb.sampling_params import SamplingParams

DEFAULT_INTO = "generated"
NAMES = ("llm", "pnb")


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
        sampling_params: SamplingParams | None = None,
        **sampling: Any,
    ) -> pd.DataFrame:
        """Return a copy of the frame with a column of generated text.

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
            sampling_params: All sampling options at once, instead of single ones.
            **sampling: Any other option of SamplingParams.

        A row with NA in a used column gets NA and is not sent. Equal rows are computed once when the answer is
        deterministic. ``attrs["pagednb"]`` of the result holds the run's figures.

        Raises:
            TemplateError: ``template`` is no column and has no field, or an unknown one.
            OptionError: an unknown option or a value out of range.
            EngineNotLoadedError: nothing was loaded.
            RowErrors: rows failed and ``errors="raise"``.
        """
        prompts = frame_prompts(self._frame, template)
        sampling |= {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        sampling |= {"seed": seed, "stop": stop}
        check_result_options(into, errors)
        outcome, figures = _run(prompts, sampling_params, sampling, system=system, progress=progress)
        figures |= {"template": str(template), "into": into}
        result = frame_with_results(self._frame, outcome, into, figures)
        report_failures(self._frame, outcome, into, errors)
        return result

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self._frame)} rows: generate(column or template, ...)"


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
        sampling_params: SamplingParams | None = None,
        **sampling: Any,
    ) -> pd.Series:
        """Return generated texts as a series with the same index and name.

        ``template`` is a text with the field ``{}``, ``{value}`` or the series' own name; without one the value itself
        is the prompt. Reasons of failed rows are in ``attrs["pagednb"]["failures"]``. Everything else is as in
        ``df.llm.generate``.

        Raises:
            TemplateError, OptionError, EngineNotLoadedError, RowErrors: as in ``df.llm.generate``.
        """
        prompts = series_prompts(self._series, template)
        sampling |= {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        sampling |= {"seed": seed, "stop": stop}
        check_result_options(DEFAULT_INTO, errors)
        outcome, figures = _run(prompts, sampling_params, sampling, system=system, progress=progress)
        result = series_with_results(self._series, outcome, figures | {"template": template})
        report_failures(self._series, outcome, DEFAULT_INTO, errors)
        return result

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self._series)} values: generate(template, ...)"


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
    """Register under the first name of ``NAMES`` that no other library has taken, and return it.

    None means that both are taken; ``pagednb.frame`` works all the same. A warning tells, once, of a name other than
    the first.
    """
    name = next((name for name in NAMES if not _is_foreign(name)), None)
    if name is not None and all(getattr(owner, name, None) is accessor for owner, accessor in _OWNERS):
        return name  # taking it off and putting it back would show in other threads
    is_renewal = name is not None and _is_ours(name)
    unregister()
    if name is not None:
        for owner, accessor in _OWNERS:
            register_on = getattr(pd.api.extensions, f"register_{owner.__name__.lower()}_accessor")
            register_on(name)(accessor)
    if name != NAMES[0] and not is_renewal:
        use = f"df.{name}" if name else "pagednb.frame(df)"
        warnings.warn(
            f"Another library has registered df.{NAMES[0]}, and keeps it. Use {use} for pagednb's verbs.",
            UserWarning,
            stacklevel=2,
        )
    return name


def unregister() -> None:
    """Take our accessors off pandas' classes; those of others stay."""
    for name in NAMES:
        for owner, _ in _OWNERS:
            if name in owner.__dict__ and _made_here(owner, name):
                delattr(owner, name)
                owner._accessors.discard(name)


def _run(
    prompts: RowPrompts,
    sampling_params: SamplingParams | None,
    sampling: Mapping[str, Any],
    *,
    system: str | None,
    progress: ProgressOption,
) -> tuple[RowOutcome, dict[str, Any]]:
    """Run the prompts on the loaded engine; return the outcome and its figures as JSON types."""
    if not isinstance(system, str | None):
        raise OptionError(f"system={system!r} is not valid.", hint="Give a text, or leave it out.")
    engine = runtime.get_engine()
    params = row_sampling_params(sampling_params, sampling, engine.resolved.generation_config)
    with watch_with(progress, prompts.num_rows) as watch:
        outcome = run_rows(
            engine,
            iter(prompts),
            params,
            num_rows=prompts.num_rows,
            num_missing=prompts.num_missing,
            system=system,
            watch=watch,
        )
    figures = outcome.figures.as_attrs(
        model=engine.resolved.name, params=params, system=system, failures=listed_failures(outcome)
    )
    return outcome, figures


def _is_ours(name: str) -> bool:
    return all(_made_here(owner, name) for owner, _ in _OWNERS)


def _is_foreign(name: str) -> bool:
    return any(hasattr(owner, name) and not _made_here(owner, name) for owner, _ in _OWNERS)


def _made_here(owner: Any, name: str) -> bool:
    """Whether the accessor class is ours; by its module's name, since a reload makes new classes."""
    return getattr(getattr(owner, name, None), "__module__", None) == FrameAccessor.__module__
