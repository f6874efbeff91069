"""What the values of ``SamplingParams`` may be: every wrong one is refused in a sentence that names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pagednb.checks import is_64_bit, is_finite, is_whole, plain_number, require, require_unicode
from pagednb.errors import OptionError
from pagednb.structured_output.grammar import grammar_of

if TYPE_CHECKING:
    from pagednb.sampling_params import SamplingParams

MAX_LOGPROBS = 20
MAX_LOGPROB_TOKEN_IDS = 64
MAX_N = 2**14
"""Samples of one prompt, as many as vLLM allows."""

_SWITCHES = ("ignore_eos", "detokenize", "skip_special_tokens", "include_stop_str_in_output", "whitespace")
_CONSTRAINTS = ("schema", "choices", "regex", "grammar")


def check_sampling_params(params: SamplingParams) -> None:
    """Raise OptionError for the first value out of range, or for values that contradict each other."""
    _check_distribution(params)
    _check_counts(params)
    _check_logprobs(params)
    for name in _SWITCHES:
        require_param(isinstance(getattr(params, name), bool), name, getattr(params, name), "True or False")
    _check_token_rules(params)
    _check_stop(params)
    _check_constraint(params)


def require_param(ok: bool, name: str, value: Any, expected: str) -> None:
    """Raise OptionError, naming the parameter and what it must be, unless ``ok``."""
    require(ok, f"SamplingParams {name}", value, expected)


def as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    """Return a list's values with Python's numbers; nothing for None. Raises OptionError for what is no list."""
    try:
        items = iter(() if value is None else value)
    except TypeError:  # also an array of no dimensions, which has __iter__ all the same
        items = None
    require_param(items is not None and not isinstance(value, str | bytes | Mapping), name, value, "a list")
    return tuple(plain_number(item) for item in items or ())


def _check_distribution(params: SamplingParams) -> None:
    def check(name: str, least: float, most: float, expected: str) -> None:
        value = getattr(params, name)
        require_param(is_finite(value) and least <= value <= most, name, value, expected)

    check("temperature", 0, float("inf"), "at least 0")
    check("min_p", 0, 1, "in [0, 1]")
    check("presence_penalty", -2, 2, "in [-2, 2]")
    check("frequency_penalty", -2, 2, "in [-2, 2]")
    for name, most, expected in (("top_p", 1, "in (0, 1]"), ("repetition_penalty", float("inf"), "above 0")):
        value = getattr(params, name)
        require_param(is_finite(value) and 0 < value <= most, name, value, expected)


def _check_counts(params: SamplingParams) -> None:
    def check(name: str, least: int, most: float, expected: str) -> None:
        value = getattr(params, name)
        require_param(is_whole(value) and least <= value <= most, name, value, expected)

    check("n", 1, MAX_N, f"a whole number from 1 to {MAX_N:,}")
    check("top_k", 0, 2**31 - 1, "a whole number, 0 or -1 for all")
    check("min_tokens", 0, float("inf"), "at least 0")
    if params.best_of is not None:
        check("best_of", params.n, MAX_N, f"a whole number from n={params.n} to {MAX_N:,}")
    if params.max_tokens is not None:
        check("max_tokens", 1, float("inf"), "at least 1, or None for as many as fit")
        if params.min_tokens > params.max_tokens:
            raise OptionError(f"min_tokens={params.min_tokens} exceeds max_tokens={params.max_tokens}.")
    num_kept = params.truncate_prompt_tokens
    if num_kept is not None and not (is_whole(num_kept) and num_kept == -1):
        check("truncate_prompt_tokens", 1, float("inf"), "at least 1, or -1 for as many as fit")
    require_param(params.seed is None or is_64_bit(params.seed), "seed", params.seed, "a 64-bit whole number")


def _check_logprobs(params: SamplingParams) -> None:
    count, token_ids = params.logprobs, params.logprob_token_ids
    for name in ("logprobs", "prompt_logprobs"):
        value = getattr(params, name)
        in_range = value is None or (is_whole(value) and 0 <= value <= MAX_LOGPROBS)
        require_param(in_range, name, value, f"a whole number from 0 to {MAX_LOGPROBS}")
    if token_ids is None:
        return
    ok = 1 <= len(token_ids) <= MAX_LOGPROB_TOKEN_IDS and are_token_ids(token_ids)
    require_param(ok, "logprob_token_ids", list(token_ids), f"1 to {MAX_LOGPROB_TOKEN_IDS} token ids")
    if count is not None:
        raise OptionError(
            "logprobs and logprob_token_ids were given; one of them says which tokens are reported.", hint="Give one."
        )


def _check_token_rules(params: SamplingParams) -> None:
    for token_id, bias in (params.logit_bias or {}).items():
        ok = are_token_ids([token_id]) and is_finite(bias) and -100 <= bias <= 100
        require_param(ok, "logit_bias", {token_id: bias}, "token ids mapped to biases in [-100, 100]")
    allowed = params.allowed_token_ids
    ok = allowed is None or (len(allowed) > 0 and are_token_ids(allowed))
    require_param(ok, "allowed_token_ids", allowed, "a list of token ids, at least one")
    for processor in params.logits_processors or ():
        require_param(callable(processor), "logits_processors", processor, "functions")
    for word in params.bad_words or ():
        require_param(isinstance(word, str) and word.strip() != "", "bad_words", word, "texts that are not blank")
        require_unicode("SamplingParams bad_words", word)


def _check_stop(params: SamplingParams) -> None:
    for text in params.stop or ():
        require_param(isinstance(text, str) and text != "", "stop", text, "non-empty strings")
        require_unicode("SamplingParams stop", text)
    require_param(are_token_ids(params.stop_token_ids or ()), "stop_token_ids", params.stop_token_ids, "token ids")
    if params.stop and not params.detokenize:
        raise OptionError(
            "stop strings need text, but detokenize=False.", hint="Use stop_token_ids, or drop detokenize=False."
        )


def _check_constraint(params: SamplingParams) -> None:
    given = [name for name in _CONSTRAINTS if getattr(params, name) is not None]
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} were given; an answer has one constraint.", hint="Give one.")
    if params.whitespace and given != ["schema"]:
        raise OptionError("whitespace=True is about JSON and there is no schema.", hint="Give schema=, or drop it.")
    if not given:
        return
    texts = params.choices if params.choices is not None else (getattr(params, given[0]),)
    ok = len(texts) > 0 and all(isinstance(text, str) and text != "" for text in texts)
    require_param(ok, given[0], getattr(params, given[0]), "a text, or for choices a list of texts, none of them empty")
    for name in ("ignore_eos", "min_tokens"):
        if getattr(params, name):
            raise OptionError(
                f"{name}={getattr(params, name)} lets an answer go on when its {given[0]} is complete.",
                hint="Leave one of them out.",
            )
    assert params.constraint is not None
    grammar_of(params.constraint)


def are_token_ids(values: Iterable[Any]) -> bool:
    """Whether each of ``values`` can be a token id."""
    return all(is_whole(value) and value >= 0 for value in values)
