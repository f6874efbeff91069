"""How one prompt is searched by beams: vLLM's names and defaults, checked once, frozen from then on."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from pagednb.checks import is_finite, is_whole, plain_number, require, signed_by_fields
from pagednb.errors import NotSupportedYetError, refuse_unknown_options


@signed_by_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSearchParams:
    """Parameters of ``LLM.beam_search``, all by keyword.

    Args:
        beam_width: Answers that are kept at every length, and returned.
        max_tokens: New tokens at most.
        ignore_eos: Go on after the model's own end token [False].
        temperature: 0, for the search draws nothing [0.0].
        length_penalty: An answer of n tokens, its end token among them, is ranked by its cumulative log-probability
            over n ** length_penalty: above 0 longer ones are favoured [1.0].
        include_stop_str_in_output: Leave the end token in ``tokens`` [False].

    Raises:
        OptionError: an unknown name or a value out of range.
        NotSupportedYetError: a temperature above 0.
    """

    beam_width: int
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    length_penalty: float = 1.0
    include_stop_str_in_output: bool = False

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse unknown names before the generated ``__init__`` sees them."""
        refuse_unknown_options(options, [f.name for f in dataclasses.fields(cls)], owner="BeamSearchParams")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, plain_number(getattr(self, field.name)))
        for name in ("beam_width", "max_tokens"):
            value = getattr(self, name)
            self._require(is_whole(value) and value >= 1, name, "a whole number of at least 1")
        for name in ("ignore_eos", "include_stop_str_in_output"):
            self._require(isinstance(getattr(self, name), bool), name, "True or False")
        self._require(is_finite(self.length_penalty), "length_penalty", "a number")
        self._require(is_finite(self.temperature) and self.temperature >= 0, "temperature", "0")
        if self.temperature > 0:
            raise NotSupportedYetError("Beams that are drawn (temperature above 0) are not built yet.")

    def _require(self, ok: bool, name: str, expected: str) -> None:
        require(ok, f"BeamSearchParams {name}", getattr(self, name), expected)
