"""One run of a verb, from checked options to the verb's result or a ``Job``: the one way every verb takes.

The verb says what to run and how results are placed; here the run is remembered, opened, watched and finished, in this
cell or in the background.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from pagednb.dataframe.kept.kept_rows import KeptRows
from pagednb.dataframe.prompts.model_prompt import as_model_sees_it, encode_prompts
from pagednb.dataframe.prompts.truncation import prompt_limit
from pagednb.dataframe.results.callers import callers_level
from pagednb.dataframe.results.last_run import LastRun, remember
from pagednb.dataframe.results.measured_speed import note_speed
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.run.encoder import Truncation
from pagednb.dataframe.run.job import Job, Work
from pagednb.dataframe.run.options import RunOptions
from pagednb.dataframe.run.progress import Watch, watch_with
from pagednb.dataframe.run.row_job import run_rows
from pagednb.dataframe.run.verb_run import VerbRun
from pagednb.errors import ContextLengthError, PromptError

Result = TypeVar("Result")
MERGED_TOKENS = 16
"""So many tokens fewer may a prompt have when values stand in it: what they meet can become one token with them."""


def start_run(verb: VerbRun[Result], options: RunOptions) -> Result | Job[Result]:
    """Run, and return the verb's result; or with ``background`` a ``Job`` at once.

    Raises:
        ContextLengthError: what stands around the rows' values is too long for the model.
        OptionError: a cache that cannot be used.
        CheckpointError: the checkpoint is another run's, or cannot be used.
        PagednbError: what ends a run, and what ``report`` raises.
    """
    if options.sample is not None:
        verb = dataclasses.replace(verb, prompts=verb.prompts.sampled(options.sample))
    prompts = verb.prompts
    _require_room(verb)
    outcome: RowOutcome[Any] = RowOutcome.empty(
        num_rows=prompts.num_rows, num_missing=prompts.num_missing, num_not_sampled=prompts.num_not_sampled
    )

    def execute(kept: KeptRows, watch: Watch) -> None:
        verb.prepare(kept)
        run_rows(
            verb.engine,
            iter(prompts.in_run_order()),
            verb.task,
            num_rows=prompts.num_rows,
            chat=verb.chat,
            watch=watch,
            kept=kept,
            truncation=_truncation(verb, options),
            outcome=outcome,
        )

    return conduct(verb, options, outcome, execute)


def conduct(
    verb: VerbRun[Result],
    options: RunOptions,
    outcome: RowOutcome[Any],
    execute: Callable[[KeptRows, Watch], None],
) -> Result | Job[Result]:
    """Have ``execute`` fill ``outcome``; return what the verb makes of it, or with ``background`` a ``Job``.

    Raises:
        OptionError, CheckpointError, PagednbError: as ``start_run``.
    """
    task, spec = verb.task, _spec(verb, options)

    def partial() -> Result:
        return verb.place(outcome.copy())

    with contextlib.ExitStack() as opened:
        what = f"{task.name} {task.fingerprint}"
        kept = opened.enter_context(
            options.kept_rows(verb.engine, spec, task=what, is_deterministic=task.is_deterministic)
        )
        remember(LastRun(spec, outcome.figures, partial))
        still_open = opened.pop_all()

    def run(watch: Watch) -> RowOutcome[Any]:
        with still_open:  # closes cache and checkpoint on whatever thread the run ends
            execute(kept, watch)
        return outcome

    def finish(outcome: RowOutcome[Any]) -> Result:
        note_speed(verb.engine, verb.task.name, outcome.figures)
        if kept.fault is not None:
            warnings.warn(f"{kept.fault}. The run went on without it.", UserWarning, stacklevel=callers_level())
        result = verb.place(outcome)
        verb.report(outcome)
        return result

    if options.background:
        return Job(Work(num_rows=outcome.figures.rows, run=run, finish=finish, partial=partial))
    with still_open, watch_with(options.progress, outcome.figures.rows) as watch:
        run(watch)
    return finish(outcome)


def _require_room(verb: VerbRun[Any]) -> None:
    """Refuse a run in which every row would fail: what stands around its values is longer than the model's context."""
    longest = verb.prompts.template.filled_with("") + max(verb.task.questions, key=len)
    try:
        [token_ids] = encode_prompts(verb.engine, [as_model_sees_it(verb.engine, longest, verb.chat)], verb.chat)
    except PromptError:
        return  # a chat template may refuse a message without content
    limit = verb.engine.geometry.max_model_len - 1
    if len(token_ids) > limit + MERGED_TOKENS:
        raise ContextLengthError(
            f"The prompt without a row's values has {len(token_ids):,} tokens, and at most {limit:,} fit.",
            hint="Shorten the template, system=, the labels or the examples.",
        )


def _spec(verb: VerbRun[Any], options: RunOptions) -> dict[str, Any]:
    """All that decides the values beside the rows, as JSON types."""
    resolved = verb.engine.resolved
    model = {"model": resolved.name, "revision": resolved.revision, "dtype": resolved.dtype}
    task = json.loads(verb.task.fingerprint)
    return {**verb.spec, **model, **verb.chat.as_json(), "truncate": options.truncate, "task": task}


def _truncation(verb: VerbRun[Any], options: RunOptions) -> Truncation | None:
    if options.truncate == "error":
        return None
    geometry = verb.engine.geometry
    limit = prompt_limit(geometry, verb.task.max_answer_tokens or geometry.max_model_len)
    return Truncation(functools.partial(verb.prompts.shortened, side=options.truncate), limit)
