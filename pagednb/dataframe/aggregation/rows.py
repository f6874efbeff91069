"""The rows that ``agg`` reads: how long each is, what makes one unusable, and their texts when a call needs them.

Texts are rendered twice, once to be measured and once for their call, so that a large frame is never held as text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pagednb.dataframe.prompts.chunks import chunks_of, why_unrunnable
from pagednb.dataframe.prompts.model_prompt import encode_prompts
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.errors import PagednbError

if TYPE_CHECKING:
    from pagednb.dataframe.prompts.row_prompts import RowPrompts
    from pagednb.engine.llm_engine import LLMEngine

JOINT_TOKENS = 1
"""What a text may grow by where it meets its neighbour: added to every length, so that sums are upper bounds."""


def measure(engine: LLMEngine, texts: Sequence[str]) -> np.ndarray:
    """Return the tokens of each text beside others, int64 ``[num_texts]``; an upper bound."""
    return np.array([len(token_ids) + JOINT_TOKENS for token_ids in encode_prompts(engine, texts)], dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class AggRows:
    """Rows by their position in the frame.

    Attributes:
        num_tokens: int64 ``[num_rows]``, of rows that can be used.
        reasons: why others cannot.
        shorter: texts of rows that were cut.
    """

    engine: LLMEngine
    prompts: RowPrompts
    num_tokens: np.ndarray
    reasons: dict[int, str]
    shorter: dict[int, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def measured(cls, engine: LLMEngine, prompts: RowPrompts, tell: Callable[[], None]) -> AggRows:
        """Read all rows once; ``tell`` is called now and then, and may raise."""
        num_tokens = np.zeros(prompts.num_rows, dtype=np.int64)
        reasons: dict[int, str] = {}
        for chunk in chunks_of(iter(prompts)):
            usable = dict(_usable(chunk, reasons))
            if usable:
                num_tokens[list(usable)] = measure(engine, list(usable.values()))
            tell()
        return cls(engine, prompts, num_tokens, reasons)

    def texts(self, positions: np.ndarray) -> list[str]:
        """Return the texts of usable rows."""
        rendered = dataclasses.replace(self.prompts, positions=positions)
        return [self.shorter.get(position, str(text)) for position, text in rendered]

    def shorten(self, position: int, max_tokens: int, side: TruncateOption) -> bool:
        """Cut a row's values until it has at most so many tokens; return whether that is possible."""

        def fits(text: str) -> bool:
            return int(measure(self.engine, [text])[0]) <= max_tokens

        text = self.prompts.shortened(position, fits, side)
        if text is None:
            return False
        self.shorter[position] = text
        self.num_tokens[position] = measure(self.engine, [text])[0]
        return True


def _usable(chunk: Sequence[tuple[int, str | PagednbError]], reasons: dict[int, str]) -> Iterator[tuple[int, str]]:
    """Yield the rows of a chunk that have a text, which may be empty; put the others into ``reasons``."""
    for position, text in chunk:
        if isinstance(text, PagednbError):
            reasons[position] = text.message
        elif not text.isspace() and text and (reason := why_unrunnable(text)) is not None:
            reasons[position] = reason
        else:
            yield position, text
