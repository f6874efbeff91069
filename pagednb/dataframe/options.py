"""The options of a dataframe verb that become sampling parameters, with the defaults that suit rows.

Knows no pandas and no engine: it gets the model's own defaults as a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pagednb.errors import NotSupportedYetError, OptionError, refuse_unknown_options
from pagednb.sampling_params import NAMES_NOT_BUILT_YET, SamplingParams, require_sampling_params

DEFAULT_MAX_TOKENS = 256
RUN_OPTIONS = ("sample", "random_state", "truncate", "cache", "checkpoint", "background")
VERB_OPTIONS = ("system", "into", "errors", "progress", "sampling_params", *RUN_OPTIONS)
# sampling parameters that have no place in a column of text; the value is the one that changes nothing
_ONE_TEXT_A_ROW: Mapping[str, Any] = {"n": 1, "logprobs": None, "logprob_token_ids": None, "detokenize": True}


def row_sampling_params(
    sampling_params: SamplingParams | None,
    options: Mapping[str, Any],
    model_defaults: Mapping[str, Any],
    *,
    verb: str = "generate",
    verb_options: Sequence[str] = VERB_OPTIONS,
) -> SamplingParams:
    """Return the parameters of a run: the caller's object, or the caller's options over the model's defaults.

    The model's defaults are those its authors recommend (``generation_config.json``); without a temperature there, or
    here, the answer is greedy, so that equal rows get equal answers. An option of None counts as not given.
    ``verb_options`` are those that the verb takes beside them.

    Raises:
        OptionError: an unknown option, a value out of range, or options beside ``sampling_params``.
        NotSupportedYetError: more than one text a row, or log-probabilities.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if sampling_params is None:
        _refuse_unknown(given, verb, verb_options)
        defaults = {"temperature": 0.0, "max_tokens": DEFAULT_MAX_TOKENS, **model_defaults}
        params = SamplingParams(**(defaults | given))
    elif given:
        raise OptionError(
            f"{verb} got sampling_params and also {', '.join(sorted(given))}.", hint="Give one or the other."
        )
    else:
        params = require_sampling_params(sampling_params)
    _require_one_text(params, verb)
    return params


def refuse_sampling(verb: str, unknown: Mapping[str, Any], own: Sequence[str]) -> None:
    """Refuse options that a verb without sampling does not have, with the nearest that it has.

    Raises:
        OptionError: naming the first.
    """
    if unknown.keys() & set(SamplingParams.__dataclass_fields__):
        name = next(iter(unknown.keys() & set(SamplingParams.__dataclass_fields__)))
        raise OptionError(f"{verb} draws nothing and writes no text, so {name}= has no meaning.", hint="Leave it out.")
    refuse_unknown_options(unknown, [*own, *VERB_OPTIONS], owner=verb)


def _refuse_unknown(given: Mapping[str, Any], verb: str, verb_options: Sequence[str]) -> None:
    """Name the nearest option of the verb; what SamplingParams knows but lacks is left for it to refuse."""
    known = list(SamplingParams.__dataclass_fields__)  # with its aliases
    refuse_unknown_options(given.keys() - NAMES_NOT_BUILT_YET, [*known, *verb_options], owner=verb)


def _require_one_text(params: SamplingParams, verb: str) -> None:
    for name, neutral in _ONE_TEXT_A_ROW.items():
        if getattr(params, name) != neutral:
            raise NotSupportedYetError(
                f"{verb} gives one answer a row, so {name}={getattr(params, name)!r} has no place yet.",
                hint=f"Leave {name} out, or use LLM.generate.",
            )
