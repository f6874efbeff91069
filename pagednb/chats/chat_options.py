"""What holds for all answers of a chat: the system prompt, sampling parameters, and whether the model thinks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pagednb.engine.thinking_switch import thinking_switch
from pagednb.errors import OptionError
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

DEFAULTS: Mapping[str, Any] = MappingProxyType({"temperature": 0.7, "max_tokens": None})
"""Where neither the chat nor the model's generation config says anything. Greedy answers would never differ when asked
for again; and an answer ends by itself, or when somebody stops it."""

_REFUSED = {"n": 1, "detokenize": True}  # a chat goes on from one answer, which is text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Options of one chat, checked.

    Attributes:
        system: the system prompt; without text there is none.
        thinking: whether the model thinks first; None leaves it to the chat template.
        sampling: sampling parameters by name; what is missing is the model's own.

    Raises:
        OptionError, SchemaError, NotSupportedYetError: an option that cannot be followed.
    """

    system: str = ""
    thinking: bool | None = None
    sampling: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.system, str):
            raise OptionError(f"A system prompt is text, not {type(self.system).__name__}.", hint='Give system="...".')
        if self.thinking not in (True, False, None):
            raise OptionError(f"thinking={self.thinking!r} is not valid.", hint="Use True, False or None.")
        SamplingParams(**{**DEFAULTS, **self.sampling})
        for name, only in _REFUSED.items():
            if self.sampling.get(name, only) != only:
                raise OptionError(f"A chat cannot have {name}={self.sampling[name]!r}.", hint="Leave it out.")
        object.__setattr__(self, "sampling", MappingProxyType(dict(self.sampling)))

    def updated(self, changes: Mapping[str, Any]) -> ChatOptions:
        """Return them with changes: ``system``, ``thinking`` and sampling parameters; None takes one of those out."""
        changes = dict(changes)
        system = changes.pop("system", self.system)
        thinking = changes.pop("thinking", self.thinking)
        sampling = {name: value for name, value in {**self.sampling, **changes}.items() if value is not None}
        return ChatOptions(system=system or "", thinking=thinking, sampling=sampling)

    def sampling_params(self, engine: LLMEngine) -> SamplingParams:
        """Return the parameters of the next answer of this engine."""
        return SamplingParams(**{**DEFAULTS, **engine.resolved.generation_config, **self.sampling})

    def template_kwargs(self, engine: LLMEngine) -> dict[str, bool]:
        """Return what the chat template is told about thinking.

        Raises:
            OptionError: the template has no such switch.
        """
        if self.thinking is None:
            return {}
        switch = thinking_switch(engine.tokenizer.get_chat_template()) if engine.has_chat_template else None
        if switch is None:
            raise OptionError(
                "This model's chat template has no switch for thinking.", hint="Leave thinking to the model."
            )
        return {switch: self.thinking}
