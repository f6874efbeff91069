"""Texts to token ids in batches. What all texts of a batch begin with, as rows of one template do, is encoded once.

The texts are cut inside their common beginning, where a word of the tokenizer begins, and only what follows is encoded
for each::

    |------------ head ------------|---- guard ----|---- margin ----|  a row's own text
                                   cut                              where the texts begin to differ

Words are encoded alone and a word ends where it ends whatever comes long after it, so head + rest are the tokens of the
whole. That is not taken on trust: the first text of every batch is encoded whole and must agree, and the rest of every
text must begin with the guard's tokens; where it does not, the text is encoded whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tokenizers

MIN_TEXTS = 4
MIN_HEAD_CHARS = 200
_GUARD_WORDS = 4
_MARGIN_WORDS = 4


@dataclasses.dataclass(frozen=True)
class _Head:
    """A beginning that was cut: ``text`` and its tokens, and what follows it in the common beginning.

    ``guard``: the first tokens of any rest; ``beginning`` ends after the margin.
    """

    text: str
    token_ids: np.ndarray
    guard: list[int]
    beginning: str
    adds_special_tokens: bool

    def serves(self, beginning: str, adds_special_tokens: bool) -> bool:
        """Whether texts with this common beginning can be cut here, and not much later."""
        is_late_enough = 2 * len(self.text) > len(beginning)
        same_options = adds_special_tokens is self.adds_special_tokens
        return same_options and is_late_enough and beginning.startswith(self.beginning)

    def joined(self, rest: list[int]) -> np.ndarray | None:
        """Return the tokens of the whole text, or None unless the rest begins with the guard."""
        if rest[: len(self.guard)] != self.guard:
            return None
        num_head = len(self.token_ids)
        token_ids = np.empty(num_head + len(rest), dtype=np.int32)
        token_ids[:num_head] = self.token_ids
        token_ids[num_head:] = rest
        return token_ids


class BatchEncoder:
    """Encodes with one tokenizer backend. Safe to use from several threads: what is remembered is replaced as a whole.

    Attributes:
        num_chars_encoded: characters that went through the tokenizer, for those who look whether it is kept from work.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.num_chars_encoded = 0
        self._backend = backend
        self._head: _Head | None = None
        self._uncut = ""  # the last beginning that could not be cut

    def encode(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[np.ndarray]:
        """Return the token ids, int32, of each text: those that it has alone.

        Raises:
            TypeError, UnicodeEncodeError: a text that is not valid Unicode.
        """
        head = self._head_of(texts, add_special_tokens)
        if head is None:
            return self._whole(texts, add_special_tokens)
        rests = self._ids([text[len(head.text) :] for text in texts], add_special_tokens=False)
        joined = [head.joined(rest) for rest in rests]
        unguarded = [index for index, token_ids in enumerate(joined) if token_ids is None]
        for index, token_ids in zip(
            unguarded, self._whole([texts[i] for i in unguarded], add_special_tokens), strict=True
        ):
            joined[index] = token_ids
        return joined  # type: ignore[return-value]  # none is None

    def _head_of(self, texts: Sequence[str], add_special_tokens: bool) -> _Head | None:
        """Return where to cut ``texts``, proven on the first one; None if they are better encoded whole."""
        if len(texts) < MIN_TEXTS:
            return None
        beginning = _common_beginning(texts)
        if len(beginning) < MIN_HEAD_CHARS or beginning == self._uncut:
            return None
        head = self._head
        (whole,) = self._ids(texts[:1], add_special_tokens=add_special_tokens)
        if head is None or not head.serves(beginning, add_special_tokens):
            head = self._cut(beginning, texts[0], whole, add_special_tokens)
        if head is not None:
            (rest,) = self._ids([texts[0][len(head.text) :]], add_special_tokens=False)
            joined = head.joined(rest)
            if joined is not None and joined.tolist() == whole:
                self._head = head
                return head
        self._uncut = beginning
        return None

    def _cut(self, beginning: str, text: str, whole: list[int], add_special_tokens: bool) -> _Head | None:
        """Return a head of ``text``, whose tokens are ``whole``; None if there is no place to cut."""
        place = self._place_to_cut(beginning)
        if place is None:
            return None
        cut, guard_end = place
        (rest,) = self._ids([text[cut:]], add_special_tokens=False)
        (guard,) = self._ids([beginning[cut:guard_end]], add_special_tokens=False)
        head_ids = np.array(whole[: max(0, len(whole) - len(rest))], dtype=np.int32)
        return _Head(beginning[:cut], head_ids, guard, beginning, add_special_tokens)

    def _place_to_cut(self, beginning: str) -> tuple[int, int] | None:
        """Return where the rest begins and the guard ends: both at words that begin with a space."""
        normalizer, pre_tokenizer = self._backend.normalizer, self._backend.pre_tokenizer
        if pre_tokenizer is None or (normalizer is not None and normalizer.normalize_str(beginning) != beginning):
            return None
        starts = [start for _, (start, _) in pre_tokenizer.pre_tokenize_str(beginning)]
        starts = [start for start in starts if beginning[start] == " " and beginning[start + 1 : start + 2].isalnum()]
        if len(starts) <= _GUARD_WORDS + _MARGIN_WORDS:
            return None
        return starts[-_GUARD_WORDS - _MARGIN_WORDS], starts[-_MARGIN_WORDS]

    def _whole(self, texts: Sequence[str], add_special_tokens: bool) -> list[np.ndarray]:
        return [np.array(ids, dtype=np.int32) for ids in self._ids(texts, add_special_tokens=add_special_tokens)]

    def _ids(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
        if not texts:
            return []
        self.num_chars_encoded += sum(map(len, texts))
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]


def _common_beginning(texts: Sequence[str]) -> str:
    """Return what all texts begin with: what the first and the last in alphabetical order do."""
    first, last = min(texts), max(texts)
    low, high = 0, min(len(first), len(last))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if last.startswith(first[:middle]) else (low, middle - 1)
    return first[:low]
