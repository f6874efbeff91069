"""From token ids to text: whole sequences at once, or piece by piece while they grow.

Used on callers' threads; on the engine thread only for requests with stop strings. The pieces of a stream put together
are exactly the text of the whole: no character is shown before all of its tokens are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

REPLACEMENT = "\ufffd"
"""What a decoder shows for bytes that are no character, yet or for good."""


class TextDecoder:
    """Decodes with the tokenizer's own decoder, without clean-up of spaces. Safe to use from any thread."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self.special_token_ids = frozenset(
            token_id for token_id, token in backend.get_added_tokens_decoder().items() if token.special
        )

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Return the text of one sequence."""
        return self._backend.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def decode_batch(self, sequences: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return the texts of many sequences, decoded in parallel."""
        return self._backend.decode_batch(sequences, skip_special_tokens=skip_special_tokens)


class IncrementalDetokenizer:
    """The text of one growing sequence.

    A token may begin or end inside a character, and its text may depend on the token before it (leading spaces). So
    a piece is decoded together with the piece before it, and cut off there:

        tokens kept:   [ last piece | new piece ]      new text = decode(both) - decode(last piece)
    """

    def __init__(self, decoder: TextDecoder, *, skip_special_tokens: bool) -> None:
        self.text = ""
        self._decoder = decoder
        self._skipped = decoder.special_token_ids if skip_special_tokens else frozenset()
        self._token_ids: list[int] = []
        self._num_shown = 0  # tokens of the last piece

    def feed(self, token_ids: Iterable[int]) -> None:
        """Add tokens; ``text`` grows by the characters that they complete."""
        # special tokens that are not shown must not become a piece: with no text of its own, a piece is no context
        self._token_ids.extend(token_id for token_id in token_ids if token_id not in self._skipped)
        self._advance(is_last=False)

    def flush(self) -> None:
        """Add what is left at the end of the sequence, even if it is no whole character."""
        self._advance(is_last=True)

    def _advance(self, *, is_last: bool) -> None:
        if self._num_shown == len(self._token_ids):
            return
        shown = self._decode(self._token_ids[: self._num_shown])
        text = self._decode(self._token_ids)
        if len(text) <= len(shown) or (text.endswith(REPLACEMENT) and not is_last):
            return
        self.text += text[len(shown) :]
        del self._token_ids[: self._num_shown]
        self._num_shown = len(self._token_ids)

    def _decode(self, token_ids: list[int]) -> str:
        return self._decoder.decode(token_ids, skip_special_tokens=False)
