"""The verb ``agg``: one answer about many rows, or one for each group of them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from pagednb.dataframe.aggregation.groups import RowGroups
from pagednb.dataframe.aggregation.prompt import AggTemplate
from pagednb.dataframe.aggregation.reduction import CallLimits
from pagednb.dataframe.aggregation.run import AggRun
from pagednb.dataframe.aggregation.task import AggTask
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.prompts.truncation import TruncateOption, prompt_limit
from pagednb.dataframe.results.failures import ErrorPolicy, check_errors, listed_failures, report_failures
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.rows.verb_rows import Accessor, Target
from pagednb.dataframe.run.conduct import conduct
from pagednb.dataframe.run.options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.run.sampling import engine_and_params, options_of, row_sampling_params
from pagednb.dataframe.run.verb_run import VerbRun
from pagednb.errors import OptionError, TemplateError
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

DEFAULT_INTO = "aggregated"
DEFAULT_TOKEN_BUDGET = 8192
"""Longer prompts fit many models, but what stands in their middle is read less well."""


def agg(
    self: Accessor,
    template: Hashable = None,
    *,
    by: Any = None,
    separator: str = "\n\n",
    combine: str | None = None,
    token_budget: int | None = None,
    system: str | None = None,
    into: str | None = None,
    errors: ErrorPolicy = "coerce",
    progress: ProgressOption = None,
    truncate: TruncateOption = "error",
    cache: CacheOption = True,
    checkpoint: CheckpointOption = None,
    background: bool = False,
    sampling_params: SamplingParams | None = None,
    **sampling: Any,
) -> Any:
    """Return one text about all rows; with ``by`` a series of texts, one a group, indexed by group.

    Rows that do not fit one call are read by several, whose answers are combined by further calls until one is left.

    Args:
        template: What is asked, with the rows' texts as fields: ``"What do these customers want?\\n\\n{text}"``. From
            the first field to the last it is repeated for each row (``"- {title}: {text}"``), what stands around is
            said once a call. Fields of columns in ``by`` are the group's and may stand anywhere:
            ``"Summarise these reviews of {brand}:\\n\\n{text}"``. A column, or the values of a series, need ``system``
            to say what is asked.
        by: What makes the groups, as in pandas' ``groupby``: a column, a list of columns, or a key for each row. Rows
            whose key is NA are a group too. Groups come in the order of their keys.
        separator: Stands between rows, and between answers that are combined.
        combine: What the calls say that combine answers, with the field ``{answers}``. Not given: the same as those
            that read rows, and that these are answers about parts.
        token_budget: Tokens of a prompt at most, 8,192 or what the model holds if not given.
        system: Instruction of every call. Needs a model with a chat template.
        into: Name of the series, "aggregated" if not given.
        errors: "coerce": a group is NA if it holds a row that cannot be read, or a call about it fails; reasons are in
            ``attrs["pagednb"]["failures"]``, and one warning sums up. No answer is given that leaves rows out. "raise":
            RowErrors after the run.
        truncate: What to do with a row that alone exceeds the budget: "error" fails its group; "left", "right" and
            "middle" cut its values there, and mark the cut with "…".
        progress, cache, checkpoint, background, sampling_params, **sampling: As in ``generate``, call by call; greedy
            and at most 256 new tokens by default.

    Rows with NA in a used column are left out, as in other verbs; a group without any other row is NA.

    Raises:
        TemplateError: as in ``generate``, or nothing is asked.
        OptionError: pandas cannot group by ``by``; the budget is beyond the model, or too small for two answers; as in
            ``generate``.
        EngineNotLoadedError, CheckpointError, RowErrors: as in ``generate``.
    """
    rows = self.rows
    prompts = rows.prompts(template)
    groups = RowGroups.of(rows.data, by)
    split = AggTemplate.of(prompts.template, group_names=groups.names, separator=separator, combine=combine)
    _require_request(split, system)
    target = Target.of(into, DEFAULT_INTO)
    check_errors(errors)
    kept: dict[str, Any] = {"cache": cache, "checkpoint": checkpoint}
    options = RunOptions(truncate=truncate, background=background, progress=progress, **kept)
    params = row_sampling_params(sampling_params, sampling, {}, verb="agg", verb_options=options_of(agg))
    engine, params = engine_and_params(params, {}, system)
    limits = _limits(engine, params, token_budget, truncate)
    asked: dict[str, Any] = {"verb": "agg", "template": template if template is None else str(template)}
    asked |= {
        "by": [str(name) for name in groups.names],
        "separator": separator,
        "combine": combine,
        "token_budget": limits.token_budget,
    }

    def place(outcome: RowOutcome[str]) -> Any:
        told = {"system": system, "failures": listed_failures(outcome.errors), **asked}
        figures = outcome.figures.as_attrs(model=engine.resolved.name, params=params, **told)
        return groups.placed(outcome.values, target.into, figures)

    verb: VerbRun[Any] = VerbRun(
        engine=engine,
        prompts=prompts,
        task=AggTask(params, limits.token_budget),
        chat=Chat(system, thinks=False),  # what a call thinks aloud would be read as its answer
        spec=asked,
        place=place,
        report=lambda outcome: report_failures(groups, outcome, target.into, errors, unit="group"),
    )
    run = AggRun(verb, split, groups, limits)
    outcome = run.empty_outcome()
    return conduct(verb, options, outcome, functools.partial(run.execute, outcome))


def _require_request(template: AggTemplate, system: str | None) -> None:
    if system is None and not template.has_request:
        raise TemplateError(
            "agg is not told what to make of the rows.",
            hint='Say it around the field: agg("What do these customers want?\\n\\n{text}").',
        )


def _limits(engine: LLMEngine, params: SamplingParams, token_budget: object, truncate: TruncateOption) -> CallLimits:
    """Return the limits of a call. Raises OptionError for a budget that leaves no room for the answer."""
    if params.max_tokens is None:
        raise OptionError("agg plans with the length of answers, and max_tokens is None.", hint="Give a number.")
    most = prompt_limit(engine.geometry, params.max_tokens)
    if token_budget is None:
        return CallLimits(min(DEFAULT_TOKEN_BUDGET, most), params.max_tokens, truncate)
    try:
        budget = operator.index(token_budget)  # type: ignore[arg-type]  # NumPy's integers too
    except TypeError:
        budget = 0
    if not 1 <= budget <= most or isinstance(token_budget, bool):
        raise OptionError(
            f"token_budget={token_budget!r} is not valid.",
            hint=f"Use a whole number up to {most}: the model holds no more beside an answer of max_tokens.",
        )
    return CallLimits(budget, params.max_tokens, truncate)
