"""How one request is sampled: vLLM's names and defaults, checked once, frozen from then on.

A parameter that exists in vLLM and is not built here raises ``NotSupportedYetError`` when it is named; a name that
exists nowhere raises ``OptionError``. Nothing is ignored.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Self

from pagednb.beam_search_params import BeamSearchParams
from pagednb.checks import is_whole, plain_number, signed_by_fields
from pagednb.errors import OptionError, refuse_unknown_options
from pagednb.sampling_checks import as_tuple, check_sampling_params, require_param
from pagednb.structured_output.constraint import Constraint, ConstraintKind
from pagednb.structured_output.json_schema import compact
from pagednb.structured_output.python_types import json_schema_of
from pagednb.structured_outputs_params import StructuredOutputsParams, sampling_options
from pagednb.vllm_options import NOT_IN_SAMPLING, passing_over, refuse_unbuilt_options

# those of other files as vLLM has them, here too
__all__ = [
    "BeamSearchParams",
    "GuidedDecodingParams",
    "SamplingParams",
    "StructuredOutputsParams",
    "require_sampling_params",
]

GuidedDecodingParams = StructuredOutputsParams
"""Its name in older versions of vLLM."""

LogitsProcessor = Callable[..., Any]
"""``(output token ids, logits)`` or ``(prompt token ids, output token ids, logits)`` -> logits."""

GREEDY_TEMPERATURE = 1e-5
"""Temperatures below this are greedy: dividing by them would overflow fp32 logits."""


@signed_by_fields
@passing_over(NOT_IN_SAMPLING)
@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """Sampling parameters of one request, all by keyword. In brackets the defaults, which are vLLM's.

    Args:
        n: Completions of one prompt [1].
        best_of: Draw so many completions and return the ``n`` with the highest cumulative log-probability, the best
            first; None draws ``n``, in no order.
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
        prompt_logprobs: Report the same of the prompt's tokens from the second on, with 0 to 20 of the likeliest.
            What begins like a prompt that was scored before is neither computed nor scored again. A cached prefix
            that nobody scored is computed again, for it can only be scored on the way.
        logit_bias: Token id -> what is added to its logit, -100 to 100.
        allowed_token_ids: Only these tokens are sampled; the model's end token too only if it is one of them.
        bad_words: Texts that the answer never holds as the tokens that the tokenizer makes of them, at the beginning
            of a word or of the text: where all but the last of these tokens stand, the last one is not sampled.
        logits_processors: Functions of the answer's token ids so far and the next position's logits, fp32 ``[vocab]``
            on the model's device, that return the logits to sample from, before penalties. With three parameters they
            get the prompt's token ids first. They run on the engine thread, which waits for them; what one raises ends
            its answer (finish reason "abort", the sentence in ``stop_reason``) and no other.
        truncate_prompt_tokens: Keep so many of the prompt's last tokens; -1 keeps as many as leave room for
            ``max_tokens``. Also of prompts that were given as token ids.
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
        structured_outputs: The constraint as vLLM's ``StructuredOutputsParams``; ``guided_decoding`` is its older name.

    At most one of the last constraints may be given. The end token comes only where the constraint is fulfilled.

    Raises:
        OptionError: an unknown name or a value out of range.
        SchemaError: a schema that cannot be read, or holds what cannot be enforced.
        NotSupportedYetError: a vLLM parameter that is not built yet.
    """

    n: int = 1
    best_of: int | None = None
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
    prompt_logprobs: int | None = None
    logit_bias: Mapping[int, float] | None = None
    allowed_token_ids: tuple[int, ...] | list[int] | None = None
    bad_words: tuple[str, ...] | list[str] | None = None
    logits_processors: tuple[LogitsProcessor, ...] | list[LogitsProcessor] | None = None
    truncate_prompt_tokens: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    schema: Any = None
    choices: tuple[str, ...] | list[str] | None = None
    regex: str | None = None
    grammar: str | None = None
    whitespace: bool = False
    response_format: dataclasses.InitVar[Any] = None
    structured_outputs: dataclasses.InitVar[StructuredOutputsParams | None] = None
    guided_decoding: dataclasses.InitVar[StructuredOutputsParams | None] = None

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse unknown and not-yet-built names before the generated ``__init__`` sees them."""
        refuse_unbuilt_options(options, NOT_IN_SAMPLING, owner="SamplingParams")
        own = [name for name in options if name not in NOT_IN_SAMPLING]
        refuse_unknown_options(own, cls.__dataclass_fields__, owner="SamplingParams")
        return super().__new__(cls)

    def __post_init__(self, response_format: Any, structured_outputs: Any, guided_decoding: Any) -> None:
        if response_format is not None:
            if self.schema is not None:
                raise OptionError("schema and response_format are two names of one option.", hint="Give one of them.")
            object.__setattr__(self, "schema", response_format)
        constraint = sampling_options(structured_outputs=structured_outputs, guided_decoding=guided_decoding)
        for name, value in constraint.items():
            if getattr(self, name) is not None:
                raise OptionError(f"{name} was given twice; an answer has one constraint.", hint="Give one.")
            object.__setattr__(self, name, value)
        self._make_plain()
        check_sampling_params(self)

    def _make_plain(self) -> None:
        """Bring every value into one form: Python's numbers, tuples, a dict; 0 for a ``top_k`` of all tokens."""
        values: dict[str, Any] = {
            field.name: plain_number(getattr(self, field.name)) for field in dataclasses.fields(self)
        }
        values["top_k"] = 0 if is_whole(values["top_k"]) and values["top_k"] == -1 else values["top_k"]
        values["stop"] = (self.stop,) if isinstance(self.stop, str) else as_tuple("stop", self.stop)
        values["stop_token_ids"] = as_tuple("stop_token_ids", self.stop_token_ids)
        require_param(isinstance(self.logit_bias, Mapping | None), "logit_bias", self.logit_bias, "a dict")
        bias = self.logit_bias or {}
        values["logit_bias"] = {plain_number(i): plain_number(value) for i, value in bias.items()} or None
        values["schema"] = None if self.schema is None else compact(json_schema_of(self.schema))
        for name in ("choices", "logprob_token_ids", "allowed_token_ids", "bad_words", "logits_processors"):
            value = getattr(self, name)
            values[name] = None if value is None else as_tuple(name, value)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature < GREEDY_TEMPERATURE

    @property
    def is_deterministic(self) -> bool:
        """Whether a prompt gives the same answer again: greedy or seeded, one sample, no code of the caller's."""
        is_drawn_again = self.is_greedy or self.seed is not None
        return self.num_sequences == 1 and is_drawn_again and not self.logits_processors

    @property
    def num_sequences(self) -> int:
        """How many completions are drawn of a prompt."""
        return self.best_of or self.n

    @property
    def is_ranked(self) -> bool:
        """Whether more completions are drawn than returned, so that their log-probabilities choose."""
        return self.num_sequences > self.n

    @property
    def has_penalties(self) -> bool:
        """Whether any of the three penalties has an effect."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0)

    @functools.cached_property
    def num_logprobs(self) -> int | None:
        """How many logprobs each position brings beside that of the chosen token; None when none is computed."""
        if self.logprob_token_ids is not None:
            return len(self.logprob_token_ids)
        return 0 if self.logprobs is None and self.is_ranked else self.logprobs

    @property
    def reports_logprobs(self) -> bool:
        """Whether outputs hold the log-probabilities of every position."""
        return self.logprobs is not None or self.logprob_token_ids is not None

    @functools.cached_property
    def needs_host_each_step(self) -> bool:
        """Whether the host has work between two tokens: several decode steps cannot go out at once."""
        rules = self.constraint is not None or self.has_token_rules
        return self.changes_logits or self.num_logprobs is not None or rules

    @functools.cached_property
    def changes_logits(self) -> bool:
        """Whether something is added to logits before they are sampled from, constraints aside."""
        return bool(self.logit_bias or self.min_tokens or self.has_penalties or self.logits_processors)

    @property
    def has_token_rules(self) -> bool:
        """Whether tokens are ruled out whatever the constraint."""
        return self.allowed_token_ids is not None or bool(self.bad_words)

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


def require_sampling_params(value: Any) -> SamplingParams:
    """Return ``value``, or raise OptionError if it is something else."""
    if not isinstance(value, SamplingParams):
        raise OptionError(
            f"Sampling parameters of type {type(value).__name__} are not valid.",
            hint="Give pagednb.SamplingParams(...).",
        )
    return value
