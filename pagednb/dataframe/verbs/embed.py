"""The verb ``embed``, known by name."""

from __future__ import annotations

from typing import Any, NoReturn

from pagednb.dataframe.rows.verb_rows import Accessor
from pagednb.errors import NotSupportedYetError


def embed(self: Accessor, *args: Any, **options: Any) -> NoReturn:
    """Not built yet.

    Raises:
        NotSupportedYetError: always.
    """
    raise NotSupportedYetError(
        "embed is not built yet for frames.", hint="LLM.embed(texts) gives the vectors: pagednb.load() returns an LLM."
    )
