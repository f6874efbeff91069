"""The verb ``preview``: what ``generate`` would send."""

from __future__ import annotations

from collections.abc import Hashable

from pagednb import runtime
from pagednb.dataframe.options import DEFAULT_MAX_TOKENS
from pagednb.dataframe.preview import Preview, preview_rows
from pagednb.dataframe.truncation import TruncateOption
from pagednb.dataframe.verb_rows import Accessor


def preview(
    self: Accessor,
    template: Hashable = None,
    *,
    n: int = 3,
    system: str | None = None,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    truncate: TruncateOption = "error",
) -> Preview:
    """Return what ``generate`` would send, with token counts and the expected time. The model does nothing.

    ``n`` prompts are shown as the model would see them; ``.frame`` holds them.

    Raises:
        TemplateError, OptionError, EngineNotLoadedError: as in ``generate``.
    """
    prompts = self.rows.prompts(template)
    return preview_rows(runtime.get_engine(), prompts, n=n, system=system, max_tokens=max_tokens, truncate=truncate)
