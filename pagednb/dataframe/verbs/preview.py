"""The verb ``preview``: what ``generate``, ``classify``, ``score``, ``extract`` or ``embed`` would send."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from pagednb import runtime
from pagednb.checks import require, require_flags
from pagednb.dataframe.embedding.task import EmbedTask
from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.extraction.prompt import schema_prompts
from pagednb.dataframe.labels.examples import example_turns
from pagednb.dataframe.labels.label_set import LabelSet
from pagednb.dataframe.labels.scale import ScoreScale
from pagednb.dataframe.labels.tokens import LabelTokenizer
from pagednb.dataframe.labels.words import with_words
from pagednb.dataframe.prompts.model_prompt import NO_CHAT, Chat
from pagednb.dataframe.prompts.preview import Preview, preview_rows
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.rows.verb_rows import Accessor
from pagednb.dataframe.run.sampling import DEFAULT_MAX_TOKENS, options_of
from pagednb.dataframe.verbs import classify, embed, extract, generate, score
from pagednb.errors import NotSupportedYetError, OptionError, refuse_unknown_options
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams

_VERBS: Mapping[str, Callable[..., Any]] = {
    "generate": generate.generate,
    "classify": classify.classify,
    "score": score.score,
    "extract": extract.extract,
    "embed": embed.embed,
}


def preview(
    self: Accessor,
    template: Hashable = None,
    *,
    n: int = 3,
    labels: Sequence[str] | Mapping[str, str | None] | None = None,
    multi: bool = False,
    examples: pd.DataFrame | None = None,
    scale: tuple[int, int] | None = None,
    choices: Sequence[Any] | Mapping[str, float] | None = None,
    schema: Any = None,
    pooling: Pooling | None = None,
    into: str | None = None,
    system: str | None = None,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    truncate: TruncateOption = "error",
    **options: Any,
) -> Preview:
    """Return what a verb would send for these rows, tokens and the expected time. The model does nothing.

    It takes the options of the verb that they show: the name in a cell is all that has to change.

    Shows itself as a table; ``.frame`` holds the prompts, ``.mean_tokens``, ``.num_too_long`` and others the figures.

    Args:
        template: As in ``generate``.
        n: The first prompts are shown as the model would see them, with its chat template.
        labels: Show what ``classify`` with these labels would send, after the ``examples`` if there are any.
        scale, choices: Show what ``score`` would send; ``choices`` of texts are those of ``generate``.
        schema: Show what ``extract`` with this schema would send.
        pooling: Show what ``embed`` would send: texts without a chat template.
        into: Where the examples have their labels, as in ``classify``.
        system: As in ``generate``.
        max_tokens: How many new tokens a row may have; the expected time is for rows that use them all.
        truncate: As in ``generate``: which rows would be cut, and how.
        multi, options: Options of the verb. They change no prompt, but that ``multi`` is not built yet.

    The expected time is known after a first run of the verb on this model; ``sample=20`` is enough.

    Raises:
        OptionError: options of two verbs, one that the verb does not have, or as in the verb.
        TemplateError, SchemaError, EngineNotLoadedError: as in ``generate`` and ``extract``.
    """
    require(isinstance(system, str | None), "system", system, "a text, or left out")
    require_flags(multi=multi)
    verb = _verb_of(labels, scale, choices, schema, pooling)
    _refuse_unknown(verb, options)
    if verb != "classify" and (multi or examples is not None):
        raise OptionError("multi= and examples= are options of classify.", hint="Give labels= too.")
    if multi:
        raise NotSupportedYetError(
            "preview does not show the questions of multi=True yet.", hint="Run classify with sample=3."
        )
    prompts = self.rows.prompts(template)
    engine = runtime.get_engine()
    chat = Chat(system)
    if verb == "extract":
        prompts = schema_prompts(prompts, AnswerSchema.of(schema))
    elif verb == "embed":
        embed.check_pooling(pooling)
        if system is not None:
            raise OptionError("embed takes no system message.", hint="Leave out system=.")
        chat, max_tokens = NO_CHAT, EmbedTask.max_answer_tokens
    elif verb != "generate":
        texts, words = _labels_and_words(verb, labels, scale, choices)
        turns = example_turns(examples, self.rows, template, into or classify.DEFAULT_INTO, texts)
        prompts, chat = with_words(prompts, Chat(system, turns, thinks=False), words)
        max_tokens = LabelTokenizer(engine, texts).max_tokens()
    return preview_rows(engine, prompts, verb=verb, n=n, chat=chat, max_tokens=max_tokens, truncate=truncate)


def _verb_of(labels: object, scale: object, choices: object, schema: object, pooling: object) -> str:
    is_score = scale is not None or isinstance(choices, Mapping)
    if isinstance(choices, Sequence) and not isinstance(choices, str):
        is_score = is_score or not all(isinstance(choice, str) for choice in choices)
    named = {"classify": labels is not None, "score": is_score, "extract": schema is not None}
    named["embed"] = pooling is not None
    verbs = [verb for verb, is_named in named.items() if is_named]
    if len(verbs) > 1:
        raise OptionError(
            f"preview got options of {' and '.join(verbs)}.",
            hint="Give labels= for classify, scale= or choices= for score, schema= for extract, pooling= for embed.",
        )
    return verbs[0] if verbs else "generate"


def _refuse_unknown(verb: str, options: Mapping[str, Any]) -> None:
    known = {*options_of(_VERBS[verb]), *options_of(preview)}
    if verb in ("generate", "extract"):
        known |= SamplingParams.__dataclass_fields__.keys()
    refuse_unknown_options(options, known, owner=f"preview of {verb}")


def _labels_and_words(verb: str, labels: Any, scale: Any, choices: Any) -> tuple[Sequence[str], str]:
    if verb == "score":
        answers = ScoreScale.of(choices, scale)
        return answers.texts, answers.words
    label_set = LabelSet.of(labels)
    return label_set.texts, label_set.in_words()
