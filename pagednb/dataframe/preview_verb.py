"""The verb ``preview``: what ``generate`` or ``extract`` would send."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from pagednb import runtime
from pagednb.checks import require
from pagednb.dataframe.answer_schema import AnswerSchema
from pagednb.dataframe.extract_verb import schema_prompts
from pagednb.dataframe.model_prompt import Chat
from pagednb.dataframe.options import DEFAULT_MAX_TOKENS
from pagednb.dataframe.preview import Preview, preview_rows
from pagednb.dataframe.truncation import TruncateOption
from pagednb.dataframe.verb_rows import Accessor


def preview(
    self: Accessor,
    template: Hashable = None,
    *,
    n: int = 3,
    schema: Any = None,
    system: str | None = None,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    truncate: TruncateOption = "error",
) -> Preview:
    """Return what ``generate`` would send for these rows, tokens and the expected time. The model does nothing.

    Shows itself as a table; ``.frame`` holds the prompts, ``.mean_tokens``, ``.num_too_long`` and others the figures.

    Args:
        template: As in ``generate``.
        n: The first prompts are shown as the model would see them, with its chat template.
        schema: Show what ``extract`` with this schema would send.
        system: As in ``generate``.
        max_tokens: How many new tokens a row may have; the expected time is for rows that use them all.
        truncate: As in ``generate``: which rows would be cut, and how.

    The expected time is known after a first run on this model; ``sample=20`` is enough.

    Raises:
        TemplateError, SchemaError, OptionError, EngineNotLoadedError: as in ``generate`` and ``extract``.
    """
    require(isinstance(system, str | None), "system", system, "a text, or left out")
    prompts = self.rows.prompts(template)
    if schema is not None:
        prompts = schema_prompts(prompts, AnswerSchema.of(schema))
    engine = runtime.get_engine()
    return preview_rows(engine, prompts, n=n, chat=Chat(system), max_tokens=max_tokens, truncate=truncate)
