"""Fields of OpenAI's and vLLM's requests that this server does not have, and what to do instead.

Of some there are values that ask for nothing: programs send them out of habit, and they change no answer. Any other
value is refused with the field's name.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple


class ForeignField(NamedTuple):
    """``neutral``: values beside null that ask for nothing; any other is refused, with ``reason``."""

    neutral: tuple[Any, ...]
    reason: str


_ONLY_TEXT = "Models of pictures or sound are not built yet"
_LLGUIDANCE = "Constraints are enforced by llguidance, as SamplingParams explains"
_BEAMS = "LLM.beam_search finds beams offline"

FOREIGN_FIELDS: Mapping[str, ForeignField] = {
    "audio": ForeignField((), _ONLY_TEXT),
    "cache_salt": ForeignField((), "All requests share one prefix cache"),
    "chat_template": ForeignField((), "The model's own template is used"),
    "chat_template_content_format": ForeignField(("auto",), "The server reads it from the template"),
    "documents": ForeignField(([],), "Put them into a message"),
    "early_stopping": ForeignField((False,), _BEAMS),
    "echo": ForeignField((False,), "Only /v1/completions has it"),
    "function_call": ForeignField(("none",), "Use tool_choice"),
    "functions": ForeignField(([],), "Use tools"),
    "guided_decoding_backend": ForeignField(("auto", "guidance"), _LLGUIDANCE),
    "guided_whitespace_pattern": ForeignField((), _LLGUIDANCE),
    "include_reasoning": ForeignField((True,), "Thoughts are always told apart from the answer"),
    "kv_transfer_params": ForeignField(({},), "There is one engine"),
    "length_penalty": ForeignField((1, 1.0), _BEAMS),
    "logits_processors": ForeignField(([],), "They run offline: SamplingParams(logits_processors=[...])"),
    "mm_processor_kwargs": ForeignField(({},), _ONLY_TEXT),
    "modalities": ForeignField((["text"],), _ONLY_TEXT),
    "prediction": ForeignField((), "Leave it out"),
    "prompt_embeds": ForeignField((), "Give text or token ids"),
    "repetition_detection": ForeignField((), "Use repetition_penalty"),
    "request_id": ForeignField((), "The server gives the ids"),
    "return_tokens_as_token_ids": ForeignField((False,), "return_token_ids tells the ids of an answer"),
    "spaces_between_special_tokens": ForeignField((True,), "Leave it out"),
    "suffix": ForeignField(("",), "Put what follows into the prompt, as the model was trained for it"),
    "use_beam_search": ForeignField((False,), _BEAMS),
    "verbosity": ForeignField(("medium",), "Say it in a message"),
    "vllm_xargs": ForeignField(({},), "There are no plug-ins"),
    "web_search_options": ForeignField((), "The server reaches no web"),
}
"""By name; a route that has one of them goes by its own field."""


def without_neutral(sent: Any, own: Container[str]) -> Any:
    """Return a body less the foreign fields that ask for nothing; ``own`` are the fields that its route has."""
    if not isinstance(sent, dict):
        return sent
    foreign = [name for name in sent if name not in own and name in FOREIGN_FIELDS]
    neutral = {name for name in foreign if _is_neutral(sent[name], FOREIGN_FIELDS[name].neutral)}
    return {name: value for name, value in sent.items() if name not in neutral} if neutral else sent


def _is_neutral(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether ``value`` is one of the ``neutral``; to Python True is the number 1, to JSON it is not."""
    return value is None or any(type(value) is type(each) and value == each for each in neutral)
