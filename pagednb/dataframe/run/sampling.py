"""The options of a dataframe verb that become sampling parameters, with the defaults that suit rows.

Knows no pandas.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pagednb import runtime
from pagednb.errors import NotSupportedYetError, OptionError, refuse_unknown_options
from pagednb.sampling_checks import MAX_N
from pagednb.sampling_params import SamplingParams, require_sampling_params
from pagednb.vllm_options import NOT_IN_SAMPLING

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

DEFAULT_MAX_TOKENS = 256
# sampling parameters that have no place in columns; the values are those that do
_ONE_TEXT: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (None,),
    "logprob_token_ids": (None,),
    "prompt_logprobs": (None,),
    "logits_processors": ((), None),  # rows are kept by their parameters, and code has no name
    "detokenize": (True,),
    "truncate_prompt_tokens": (None,),  # which rows are cut is a decision of the verb's own
}
_SEVERAL_TEXTS = {**_ONE_TEXT, "n": range(1, MAX_N + 1), "logprobs": (None, 0)}


def row_sampling_params(
    sampling_params: SamplingParams | None,
    options: Mapping[str, Any],
    model_defaults: Mapping[str, Any],
    *,
    verb: str = "generate",
    verb_options: Sequence[str] = (),
) -> SamplingParams:
    """Return the parameters of a run: the caller's object, or the caller's options over the model's defaults.

    The model's defaults are those its authors recommend (``generation_config.json``); without a temperature there, or
    here, the answer is greedy, so that equal rows get equal answers. An option of None counts as not given.
    ``verb_options`` are those that the verb takes beside them.

    Raises:
        OptionError: an unknown option, a value out of range, or options beside ``sampling_params``.
        NotSupportedYetError: what has no column: several texts a row but in generate, log-probabilities of tokens.
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
    _require_columns(params, verb)
    return params


def options_of(verb: Callable[..., Any]) -> list[str]:
    """Return the options that a verb has by name, as its signature says."""
    parameters = inspect.signature(verb).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def refuse_sampling(verb: Callable[..., Any], unknown: Mapping[str, Any]) -> None:
    """Refuse options that a verb without sampling does not have, with the nearest that it has.

    Raises:
        OptionError: naming the first.
    """
    sampling = {*SamplingParams.__dataclass_fields__, "sampling_params"}
    for name in unknown.keys() & sampling:
        raise OptionError(
            f"{verb.__name__} draws nothing and writes no text, so {name}= has no meaning.", hint="Leave it out."
        )
    refuse_unknown_options(unknown, options_of(verb), owner=verb.__name__)


def _refuse_unknown(given: Mapping[str, Any], verb: str, verb_options: Sequence[str]) -> None:
    """Name the nearest option of the verb; what SamplingParams knows but lacks is left for it to refuse."""
    sampling = SamplingParams.__dataclass_fields__  # with its aliases
    known = dict.fromkeys([*sampling, *verb_options])
    refuse_unknown_options(given.keys() - NOT_IN_SAMPLING.keys(), known, owner=verb)


def _require_columns(params: SamplingParams, verb: str) -> None:
    for name, possible in (_SEVERAL_TEXTS if verb == "generate" else _ONE_TEXT).items():
        value = getattr(params, name)
        if value not in possible:
            raise NotSupportedYetError(
                f"{verb} has no column for what {name}={value!r} brings.",
                hint=f"Leave {name} out, or use LLM.generate.",
            )


def engine_and_params(
    sampling_params: SamplingParams | None,
    sampling: Mapping[str, Any],
    system: object,
    *,
    verb_options: Sequence[str] = (),
) -> tuple[LLMEngine, SamplingParams]:
    """Return the loaded engine and the parameters of a run on it.

    Raises:
        OptionError: ``system`` is no text, or as ``row_sampling_params``.
        EngineNotLoadedError: nothing was loaded.
    """
    if not isinstance(system, str | None):
        raise OptionError(f"system={system!r} is not valid.", hint="Give a text, or leave it out.")
    engine = runtime.get_engine()
    defaults = engine.resolved.generation_config
    return engine, row_sampling_params(sampling_params, sampling, defaults, verb_options=verb_options)
