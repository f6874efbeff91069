"""The verb ``preview``: what ``generate``, ``classify`` or ``extract`` would send."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pagednb import runtime
from pagednb.checks import require
from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.extraction.prompt import schema_prompts
from pagednb.dataframe.labels.label_set import LabelSet
from pagednb.dataframe.labels.tokens import LabelTokenizer
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.prompts.preview import Preview, preview_rows
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.rows.verb_rows import Accessor
from pagednb.dataframe.run.sampling import DEFAULT_MAX_TOKENS
from pagednb.errors import OptionError


def preview(
    self: Accessor,
    template: Hashable = None,
    *,
    n: int = 3,
    labels: Sequence[str] | Mapping[str, str | None] | None = None,
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
        labels: Show what ``classify`` with these labels would send.
        schema: Show what ``extract`` with this schema would send.
        system: As in ``generate``.
        max_tokens: How many new tokens a row may have; the expected time is for rows that use them all.
        truncate: As in ``generate``: which rows would be cut, and how.

    The expected time is known after a first run on this model; ``sample=20`` is enough.

    Raises:
        OptionError: ``labels`` and ``schema`` were given, or as in ``generate`` and ``classify``.
        TemplateError, SchemaError, EngineNotLoadedError: as in ``generate`` and ``extract``.
    """
    require(isinstance(system, str | None), "system", system, "a text, or left out")
    if labels is not None and schema is not None:
        raise OptionError("preview got labels and schema.", hint="Give labels= for classify, schema= for extract.")
    prompts = self.rows.prompts(template)
    engine = runtime.get_engine()
    chat = Chat(system)
    if schema is not None:
        prompts = schema_prompts(prompts, AnswerSchema.of(schema))
    if labels is not None:
        label_set = LabelSet.of(labels)
        prompts = dataclasses.replace(prompts, template=prompts.template.after(label_set.in_words()))
        chat = dataclasses.replace(chat, thinks=False)
        max_tokens = LabelTokenizer(engine, label_set.texts).max_tokens()
    return preview_rows(engine, prompts, n=n, chat=chat, max_tokens=max_tokens, truncate=truncate)
