"""The verb ``embed``: a vector for each row."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, get_args

from pagednb import runtime
from pagednb.checks import require, require_flags
from pagednb.dataframe.embedding.columns import vector_column
from pagednb.dataframe.embedding.task import EmbedTask
from pagednb.dataframe.prompts.model_prompt import NO_CHAT
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.failures import ErrorPolicy, check_errors
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.rows.verb_rows import VECTORS, Accessor, Target
from pagednb.dataframe.run.conduct import start_run
from pagednb.dataframe.run.options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.run.sampling import refuse_sampling
from pagednb.dataframe.run.verb_run import ColumnVerb
from pagednb.request import Pooling

DEFAULT_INTO = "embedding"


def embed(
    self: Accessor,
    template: Hashable = None,
    *,
    pooling: Pooling = "last",
    normalize: bool = True,
    into: str | None = None,
    errors: ErrorPolicy = "coerce",
    progress: ProgressOption = None,
    sample: int | None = None,
    random_state: int = 0,
    truncate: TruncateOption = "error",
    cache: CacheOption = True,
    checkpoint: CheckpointOption = None,
    background: bool = False,
    **unknown: Any,
) -> Any:
    """Return a copy of the frame with a column of vectors: NumPy arrays, float32, as long as the model is wide.

    Of a series, return the vectors as a series with the same index and name. Vectors of length 1 compare by their
    product: ``matrix = np.stack(out["embedding"].dropna())``, then ``matrix @ matrix.T`` holds all cosines.

    A model that writes text was not made for this; what it gives is a start.

    Args:
        template: As in ``generate``. The model reads it as it stands, without its chat template, as in ``LLM.embed``.
        pooling: Which of the last hidden states: that of the "last" token, of the first ("cls"), or their "mean".
        normalize: Make vectors of length 1.
        into: The new column, "embedding" if not given. Of a series, the name of the result.
        errors, progress, sample, random_state, truncate, cache, checkpoint, background: As in ``generate``. A failed
            row has None. Memory keeps some 45,000 vectors of 1,024 numbers; for more give ``cache`` a path.

    Raises:
        OptionError: another pooling, or as in ``generate``.
        TemplateError, ContextLengthError, EngineNotLoadedError, CheckpointError, RowErrors: as in ``generate``.
    """
    refuse_sampling(embed, unknown)
    check_pooling(pooling)
    require_flags(normalize=normalize)
    rows = self.rows
    prompts = rows.prompts(template)
    target = Target.of(into, DEFAULT_INTO)
    check_errors(errors)
    trial = RowSample.of(sample, random_state)
    kept: dict[str, Any] = {"cache": cache, "checkpoint": checkpoint}
    options = RunOptions(sample=trial, truncate=truncate, background=background, progress=progress, **kept)

    def columns(outcome: RowOutcome[Any]) -> dict[str, Any]:
        return {target.into: vector_column(outcome.values, rows.data.index, normalize=normalize)}

    verb = ColumnVerb(
        rows=rows,
        engine=runtime.get_engine(),
        prompts=prompts,
        task=EmbedTask(pooling),
        chat=NO_CHAT,
        template=template,
        target=target,
        errors=errors,
        columns=columns,
        holds={target.into: VECTORS},
        details={
            "into": target.into,
            "truncate": truncate,
            "options": {"pooling": pooling, "normalize": normalize},
        },
    )
    return start_run(verb.as_run(), options)


def check_pooling(pooling: object) -> None:
    """Raise OptionError for what is no pooling."""
    require(pooling in get_args(Pooling), "pooling", pooling, f"one of {get_args(Pooling)}")
