"""Stop strings: text that ends a sequence.

``StopScanner`` runs on the engine thread for the requests that have stop strings, so that no further token is computed;
``held_back`` runs on the caller's thread, so that a stream never shows the beginning of a stop string.
"""

from __future__ import annotations

from collections.abc import Sequence

from pagednb.engine.detokenizer import IncrementalDetokenizer, TextDecoder
from pagednb.request import StopMatch
from pagednb.sampling_params import SamplingParams


class StopScanner:
    """Watches the text of one growing sequence. Text of the first ``min_tokens`` tokens cannot end it."""

    def __init__(self, decoder: TextDecoder, params: SamplingParams) -> None:
        self._detokenizer = IncrementalDetokenizer(decoder, skip_special_tokens=params.skip_special_tokens)
        self._stop = tuple(params.stop or ())
        self._is_included = params.include_stop_str_in_output
        self._min_tokens = params.min_tokens
        self.num_tokens = 0

    def feed(self, token_ids: Sequence[int], *, ends_with_stop_token: bool) -> StopMatch | None:
        """Return the earliest stop string that ``token_ids`` complete; tokens after it are not looked at.

        A stop token at the end has text only under ``include_stop_str_in_output``.
        """
        if ends_with_stop_token and not self._is_included:
            token_ids = token_ids[:-1]
        for token_id in token_ids:
            num_checked = len(self._detokenizer.text)
            self._detokenizer.feed((token_id,))
            self.num_tokens += 1
            if self.num_tokens > self._min_tokens and (match := self._find(num_checked)) is not None:
                return match
        return None

    def _find(self, num_checked: int) -> StopMatch | None:
        """Search the text from where a stop string that ends in new text can begin."""
        text = self._detokenizer.text
        starts = [(text.find(stop, max(0, num_checked - len(stop) + 1)), stop) for stop in self._stop]
        found = [(start, stop) for start, stop in starts if start >= 0]
        if not found:
            return None
        start, stop = min(found, key=lambda pair: pair[0])  # the first in the user's order where starts are equal
        end = start + len(stop) if self._is_included else start
        return StopMatch(stop, text[:end], self.num_tokens)


def held_back(text: str, stop: Sequence[str]) -> int:
    """Return how many characters at the end of ``text`` could be the beginning of a stop string."""
    longest = min(len(text), max((len(s) for s in stop), default=1) - 1)
    for length in range(longest, 0, -1):
        if any(s.startswith(text[-length:]) for s in stop):
            return length
    return 0
