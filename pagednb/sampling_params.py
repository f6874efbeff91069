"""How one request is sampled: vLLM's names and defaults, checked once, frozen from then on.

A parameter that exists in vLLM and is not built here raises ``NotSupportedYetError`` when it is named; a name that
exists nowhere raises ``OptionError``. Nothing is ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pagednb.checks import is_64_bit, is_finite, is_whole, plain_number, require, signed_by_fields
from pagednb.errors import NotSupportedYetError, OptionError, refuse_unknown_options
from pagednb.structured_output.constraint import Constraint, ConstraintKind
from pagednb.structured_output.grammar import grammar_of
from pagednb.structured_output.json_schema import compact
from pagednb.structured_output.python_types import json_schema_of

NAMES_NOT_BUILT_YET = frozenset(
    {
        "best_of",
        "prompt_logprobs",
        "bad_words",
        "allowed_token_ids",
        "truncate_prompt_tokens",
        "structured_outputs",
        "logits_processors",
        "spaces_between_special_tokens",
        "extra_args",
    }
)
"""Names that ``SamplingParams`` refuses as not built yet; surfaces with options of their own leave them to it."""

GREEDY_TEMPERATURE = 1e-5
"""Temperatures below this are greedy: dividing by them would overflow fp32 logits."""

MAX_LOGPROBS = 20
MAX_LOGPROB_TOKEN_IDS = 64
MAX_N = 2**14
"""Samples of one prompt, as many as vLLM allows."""

_SWITCHES = ("ignore_eos", "detokenize", "skip_special_tokens", "include_stop_str_in_output", "whitespace")
_CONSTRAINTS = ("schema", "choices", "regex", "grammar")


@signed_by_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """Sampling parameters of one request, all by keyword. In brackets the defaults, which are vLLM's.

    Args:
        n: Completions of one prompt [1].
        temperature: 0 takes the most likely token always; higher is more varied [1.0].
        top_p: Sample from the most likely tokens that together reach this probability [1.0].
        top_k: Sample from so many tokens at most; 0 or -1 means all [0].
        min_p: Leave out tokens less likely than this share of the most likely one [0.0].
        presence_penalty: Taken once from the logit of each token that the answer holds already [0.0].
        frequency_penalty: The same, times how often the answer holds it [0.0].
        repetition_penalty: Above 1 makes tokens of prompt and answer less likely to come again [1.0].
        seed: Fixes the draw of every position, whatever else is in the batch; completion i of ``n`` draws with
            ``seed + i``. Without it one is drawn from the engine's seed.
        max_tokens: New tokens at most; None means as many as fit ``max_model_len`` [16].
        min_tokens: No end and no stop token before so many new tokens [0].
        stop: A text or texts that end the answer, and are not part of it.
        stop_token_ids: Token ids that end it.
        ignore_eos: Go on after the model's own end token [False].
        logprobs: Report the chosen token and so many of the likeliest ones, 0 to 20, at every position.
        logprob_token_ids: Report the chosen token and exactly these, 64 at most, at every position. Like ``logprobs``
            they are of the whole vocabulary, before temperature, bias, penalties and constraints; at most one of the
            two may be given. The rank is reported of the chosen token only.
        logit_bias: Token id -> what is added to its logit, -100 to 100.
        detokenize: False leaves ``text`` empty [True].
        skip_special_tokens: Leave tokens such as the end token out of ``text`` [True].
        include_stop_str_in_output: Leave the stop text in ``text`` [False].
        schema: The answer is JSON that fits this JSON Schema (a dict, or JSON as text), or this pydantic model,
            dataclass, TypedDict or dict of types; kept as JSON text. ``response_format`` is the same. Objects with
            named properties get no others unless the schema says so.
        choices: The answer is one of these texts.
        regex: The whole answer matches this regular expression (Rust's: no look-around, no back-references).
        grammar: The answer matches this grammar, in the Lark-like form of llguidance.
        whitespace: Let JSON hold free whitespace; it is compact otherwise [False].

    At most one of the last constraints may be given. The end token comes only where the constraint is fulfilled.

    Raises:
        OptionError: an unknown name or a value out of range.
        SchemaError: a schema that cannot be read, or holds what cannot be enforced.
        NotSupportedYetError: a vLLM parameter that is not built yet.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    min_tokens: int = 0
    stop: tuple[str, ...] | list[str] | str | None = None
    stop_token_ids: tuple[int, ...] | list[int] | None = None
    ignore_eos: bool = False
    logprobs: int | None = None
    logprob_token_ids: tuple[int, ...] | list[int] | None = None
    logit_bias: Mapping[int, float] | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    schema: Any = None
    choices: tuple[str, ...] | list[str] | None = None
    regex: str | None = None
    grammar: str | None = None
    whitespace: bool = False
    response_format: dataclasses.InitVar[Any] = None

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse unknown and not-yet-built names before the generated ``__init__`` sees them."""
        for name in options.keys() & NAMES_NOT_BUILT_YET:
            raise NotSupportedYetError(f"SamplingParams option {name!r} is not built yet.", hint="Leave it out.")
        known = [*(f.name for f in dataclasses.fields(cls)), "response_format"]
        refuse_unknown_options(options, known, owner="SamplingParams")
        return super().__new__(cls)

    def __post_init__(self, response_format: Any) -> None:
        if response_format is not None:
            if self.schema is not None:
                raise OptionError("schema and response_format are two names of one option.", hint="Give one of them.")
            object.__setattr__(self, "schema", response_format)
        self._make_plain()
        self._check_ranges()
        self._check_stop()
        self._check_constraint()

    def _make_plain(self) -> None:
        """Bring every value into one form: Python's numbers, tuples, a dict; 0 for a ``top_k`` of all tokens."""
        values: dict[str, Any] = {
            field.name: plain_number(getattr(self, field.name)) for field in dataclasses.fields(self)
        }
        values["top_k"] = 0 if values["top_k"] == -1 else values["top_k"]
        values["stop"] = (self.stop,) if isinstance(self.stop, str) else _as_tuple("stop", self.stop)
        values["stop_token_ids"] = _as_tuple("stop_token_ids", self.stop_token_ids)
        _require(isinstance(self.logit_bias, Mapping | None), "logit_bias", self.logit_bias, "a dict")
        bias = self.logit_bias or {}
        values["logit_bias"] = {plain_number(i): plain_number(value) for i, value in bias.items()} or None
        values["schema"] = None if self.schema is None else compact(json_schema_of(self.schema))
        for name in ("choices", "logprob_token_ids"):
            value = getattr(self, name)
            values[name] = None if value is None else _as_tuple(name, value)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature < GREEDY_TEMPERATURE

    @property
    def is_deterministic(self) -> bool:
        """Whether the same prompt gives the same answer again: greedy or seeded, one sample."""
        return self.n == 1 and (self.is_greedy or self.seed is not None)

    @property
    def has_penalties(self) -> bool:
        """Whether any of the three penalties has an effect."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0)

    @property
    def num_logprobs(self) -> int | None:
        """How many logprobs each position brings beside that of the chosen token; None when they are not asked for."""
        return self.logprobs if self.logprob_token_ids is None else len(self.logprob_token_ids)

    @property
    def needs_host_each_step(self) -> bool:
        """Whether the host has work between two tokens: several decode steps cannot go out at once."""
        return self.changes_logits or self.num_logprobs is not None or self.constraint is not None

    @property
    def changes_logits(self) -> bool:
        """Whether something is added to logits before they are sampled from, constraints aside."""
        return bool(self.logit_bias or self.min_tokens or self.has_penalties)

    @property
    def constraint(self) -> Constraint | None:
        """What every answer must match, if anything."""
        if self.choices is not None:
            return Constraint.of_choices(self.choices)
        if self.schema is not None:
            return Constraint(ConstraintKind.SCHEMA, self.schema, self.whitespace)
        if self.regex is not None:
            return Constraint(ConstraintKind.REGEX, self.regex)
        return None if self.grammar is None else Constraint(ConstraintKind.GRAMMAR, self.grammar)

    def _check_ranges(self) -> None:
        _require(is_whole(self.n) and 1 <= self.n <= MAX_N, "n", self.n, f"a whole number from 1 to {MAX_N:,}")
        _require(is_finite(self.temperature) and self.temperature >= 0, "temperature", self.temperature, "at least 0")
        _require(is_finite(self.top_p) and 0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1]")
        _require(
            is_whole(self.top_k) and 0 <= self.top_k < 2**31, "top_k", self.top_k, "a whole number, 0 or -1 for all"
        )
        _require(is_finite(self.min_p) and 0 <= self.min_p <= 1, "min_p", self.min_p, "in [0, 1]")
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            _require(is_finite(value) and -2 <= value <= 2, name, value, "in [-2, 2]")
        _require(
            is_finite(self.repetition_penalty) and self.repetition_penalty > 0,
            "repetition_penalty",
            self.repetition_penalty,
            "above 0",
        )
        _require(self.seed is None or is_64_bit(self.seed), "seed", self.seed, "a 64-bit whole number")
        _require(
            self.max_tokens is None or (is_whole(self.max_tokens) and self.max_tokens >= 1),
            "max_tokens",
            self.max_tokens,
            "at least 1, or None for as many as fit",
        )
        _require(is_whole(self.min_tokens) and self.min_tokens >= 0, "min_tokens", self.min_tokens, "at least 0")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise OptionError(f"min_tokens={self.min_tokens} exceeds max_tokens={self.max_tokens}.")
        _require(
            self.logprobs is None or (is_whole(self.logprobs) and 0 <= self.logprobs <= MAX_LOGPROBS),
            "logprobs",
            self.logprobs,
            f"a whole number from 0 to {MAX_LOGPROBS}",
        )
        self._check_logprob_token_ids()
        for name in _SWITCHES:
            _require(isinstance(getattr(self, name), bool), name, getattr(self, name), "True or False")
        for token_id, bias in (self.logit_bias or {}).items():
            ok = is_whole(token_id) and token_id >= 0 and is_finite(bias) and -100 <= bias <= 100
            _require(ok, "logit_bias", {token_id: bias}, "token ids mapped to biases in [-100, 100]")

    def _check_logprob_token_ids(self) -> None:
        token_ids = self.logprob_token_ids
        if token_ids is None:
            return
        ok = 1 <= len(token_ids) <= MAX_LOGPROB_TOKEN_IDS and all(is_whole(i) and i >= 0 for i in token_ids)
        _require(ok, "logprob_token_ids", list(token_ids), f"1 to {MAX_LOGPROB_TOKEN_IDS} token ids")
        if self.logprobs is not None:
            raise OptionError(
                "logprobs and logprob_token_ids were given; one of them says which tokens are reported.",
                hint="Give one.",
            )

    def _check_stop(self) -> None:
        for text in self.stop or ():
            _require(isinstance(text, str) and text != "", "stop", text, "non-empty strings")
        for token_id in self.stop_token_ids or ():
            _require(is_whole(token_id) and token_id >= 0, "stop_token_ids", token_id, "token ids")
        if self.stop and not self.detokenize:
            raise OptionError(
                "stop strings need text, but detokenize=False.", hint="Use stop_token_ids, or drop detokenize=False."
            )

    def _check_constraint(self) -> None:
        given = [name for name in _CONSTRAINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} were given; an answer has one constraint.", hint="Give one.")
        if self.whitespace and given != ["schema"]:
            raise OptionError("whitespace=True is about JSON and there is no schema.", hint="Give schema=, or drop it.")
        if not given:
            return
        texts = self.choices if self.choices is not None else (getattr(self, given[0]),)
        ok = len(texts) > 0 and all(isinstance(text, str) and text != "" for text in texts)
        _require(ok, given[0], getattr(self, given[0]), "a text, or for choices a list of texts, none of them empty")
        for name in ("ignore_eos", "min_tokens"):
            if getattr(self, name):
                raise OptionError(
                    f"{name}={getattr(self, name)} lets an answer go on when its {given[0]} is complete.",
                    hint="Leave one of them out.",
                )
        assert self.constraint is not None
        grammar_of(self.constraint)


def require_sampling_params(value: Any) -> SamplingParams:
    """Return ``value``, or raise OptionError if it is something else."""
    if not isinstance(value, SamplingParams):
        raise OptionError(
            f"Sampling parameters of type {type(value).__name__} are not valid.",
            hint="Give pagednb.SamplingParams(...).",
        )
    return value


def _require(ok: bool, name: str, value: Any, expected: str) -> None:
    require(ok, f"SamplingParams {name}", value, expected)


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    _require(isinstance(value, Iterable | None) and not isinstance(value, str), name, value, "a list")
    return tuple(plain_number(item) for item in (() if value is None else value))
