"""``%config PagedNB.x = ...``: what the magics take where a line says nothing.

A file of IPython's configuration sets the same names (``c.PagedNB.temperature = 0.7``). A flag on the line wins over a
setting, a setting over what the model's authors recommend.
"""

from __future__ import annotations

from typing import Any

from traitlets import Enum, Float, Int, TraitError, Unicode, validate
from traitlets.config import Configurable

from pagednb.errors import OptionError
from pagednb.notebook.answer_format import FORMATS
from pagednb.notebook.generate_flags import THINKING
from pagednb.sampling_params import SamplingParams

_SAMPLING = ("temperature", "max_tokens", "top_p", "top_k", "min_p", "repetition_penalty", "seed")


class PagedNB(Configurable):
    """Defaults of ``%llm load``, ``%generate`` and ``%%generate``."""

    model = Unicode(None, allow_none=True, help="What %llm load loads when it names no model.").tag(config=True)
    format = Enum(FORMATS, default_value="markdown", help="How answers are shown.").tag(config=True)
    system = Unicode(None, allow_none=True, help="System message ahead of every prompt.").tag(config=True)
    thinking = Enum(THINKING, default_value="auto", help="Whether a model that can think does.").tag(config=True)
    max_tokens = Int(256, allow_none=True, help="Stop after so many tokens; None: as many as fit.").tag(config=True)
    temperature = Float(None, allow_none=True, help="0 is greedy; None: the model's own, or 0.").tag(config=True)
    top_p = Float(None, allow_none=True, help="None: the model's own, or all tokens.").tag(config=True)
    top_k = Int(None, allow_none=True, help="None: the model's own, or all tokens.").tag(config=True)
    min_p = Float(None, allow_none=True, help="None: the model's own, or all tokens.").tag(config=True)
    repetition_penalty = Float(None, allow_none=True, help="None: the model's own, or none.").tag(config=True)
    seed = Int(None, allow_none=True, help="Draw the same answers every time.").tag(config=True)

    @property
    def sampling(self) -> dict[str, Any]:
        """Sampling parameters that are set; ``max_tokens`` always is."""
        given = {name: getattr(self, name) for name in _SAMPLING}
        return {name: value for name, value in given.items() if value is not None or name == "max_tokens"}

    @validate(*_SAMPLING)
    def _check(self, proposal: Any) -> Any:
        """Refuse a value at ``%config`` already, with the sentence that ``%generate`` would have."""
        if proposal["value"] is not None:
            try:
                SamplingParams(**{proposal["trait"].name: proposal["value"]})
            except OptionError as error:
                raise TraitError(str(error)) from None
        return proposal["value"]
