"""The verb ``generate``: a text for each row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from pagednb.dataframe.generation.text_task import GenerateTask
from pagednb.dataframe.generation.texts_task import TextsTask, texts_columns, texts_holds
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.columns import text_array
from pagednb.dataframe.results.failures import ErrorPolicy, check_errors
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.rows.verb_rows import Accessor, Target
from pagednb.dataframe.run.conduct import start_run
from pagednb.dataframe.run.options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.run.sampling import engine_and_params, options_of
from pagednb.dataframe.run.verb_run import ColumnVerb
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    pass

DEFAULT_INTO = "generated"


def generate(
    self: Accessor,
    template: Hashable = None,
    *,
    system: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] | None = None,
    n: int | None = None,
    logprobs: bool | None = None,
    into: str | None = None,
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

    Of a series, return the texts as a series with the same index and name.

    Args:
        template: A column, or a text with columns as fields: ``"Classify: {text}"``, ``"{price:.2f}"``,
            ``"{ticket text}"``. Braces that are not fields, JSON among them, stay as they are. Cells that are not text
            become text as ``str`` does it. For a series the field is ``{}``, ``{value}`` or the series' own name;
            without a template the value itself is the prompt.
        system: Instruction for every row, taken as it stands. Needs a model with a chat template.
        max_tokens: New tokens a row at most, 256 if not given. A text cut there is no error; it is counted.
        temperature: 0 is greedy. Not given: what the model's authors recommend, else 0.
        top_p: Sample from the most likely tokens that together reach this probability.
        top_k: Sample from so many tokens at most.
        seed: Makes a sampled run repeatable, and lets equal rows share one answer.
        stop: Text or texts that end the answer.
        n: So many texts a row, as a list. Needs a temperature to differ.
        logprobs: True adds ``<into>_logprob``, float32: the log-probability of the whole text.
        into: The new column, "generated" if not given; in the copy, one of this name is replaced, and so is
            ``<into>_error``. Of a series, the name of the result.
        errors: "coerce": a failed row is NA, its reason stands in ``<into>_error`` (of a series in
            ``attrs["pagednb"]["failures"]``), one warning sums up. "raise": RowErrors after the run.
        progress: True or False for a bar, a callable for figures, None for ``PAGEDNB_PROGRESS``.
        sample: A trial run of so many rows without NA; the others are NA. Cache and checkpoint keep what it computes,
            so the full run has these rows for nothing.
        random_state: Chooses other rows for the sample.
        truncate: A row too long for the model fails with "error". "left", "right" and "middle" cut its values there
            until prompt and answer fit, and mark the cut with "…"; the template itself is never cut.
        cache: True: deterministic answers are kept in memory, so the same cell again costs nothing. A path: they are
            kept in that file too, for the next kernel. False: nothing is taken or kept.
        checkpoint: A folder, or a ``Checkpoint``, that keeps rows as they are done, sampled ones too. The same cell
            run again, after whatever ended it, goes on from there and computes failed rows again.
        background: Return a ``Job`` at once; the run goes on while other cells run.
        sampling_params: All sampling options at once, instead of single ones.
        **sampling: Any other option of SamplingParams.

    A row with NA in a used column gets NA and is not sent. Equal rows are computed once when the answer is
    deterministic. ``attrs["pagednb"]`` of the result holds the run's figures.

    Raises:
        TemplateError: ``template`` is no column and has no field, or one that is unknown or that no value of its
            column's type can fill.
        ContextLengthError: what stands around the values is longer than the model's context.
        OptionError: an unknown option or a value out of range.
        EngineNotLoadedError: nothing was loaded.
        CheckpointError: the checkpoint belongs to another run; says what differs.
        RowErrors: rows failed and ``errors="raise"``.
    """
    rows = self.rows
    prompts = rows.prompts(template)
    sampling |= {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    sampling |= {"seed": seed, "stop": stop, "n": n, "logprobs": 0 if logprobs is True else logprobs or None}
    target = Target.of(into, DEFAULT_INTO)
    check_errors(errors)
    trial = RowSample.of(sample, random_state)
    kept: dict[str, Any] = {"cache": cache, "checkpoint": checkpoint}
    options = RunOptions(sample=trial, truncate=truncate, background=background, progress=progress, **kept)
    engine, params = engine_and_params(sampling_params, sampling, system, verb_options=options_of(generate))
    is_one_text = params.n == 1 and params.logprobs is None

    def columns(outcome: RowOutcome[Any]) -> dict[str, Any]:
        if is_one_text:
            return {target.into: text_array(outcome.values)}
        return texts_columns(outcome, target.into, params, rows.data.index)

    verb = ColumnVerb(
        rows=rows,
        engine=engine,
        prompts=prompts,
        task=GenerateTask(params) if is_one_text else TextsTask(params),
        chat=Chat(system),
        template=template,
        target=target,
        errors=errors,
        columns=columns,
        holds=texts_holds(target.into),
        beside=[] if params.logprobs is None else [f"{target.into}_logprob"],
        details={"into": target.into, "truncate": truncate},
    )
    return start_run(verb.as_run(), options)
