"""What was found, and what to do about it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """A fact; a problem if it has a remedy."""

    text: str
    remedy: str | None = None

    @property
    def is_problem(self) -> bool:
        """Whether something must be done before pagednb works as it should."""
        return self.remedy is not None
