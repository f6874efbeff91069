"""Stop strings against the plain definition: the first token after which the text holds one, and nothing after it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_tokenizers import byte_level_backend

from pagednb.engine.detokenizer import TextDecoder
from pagednb.engine.stop_strings import StopScanner, held_back
from pagednb.request import StopMatch
from pagednb.sampling_params import SamplingParams


def scan(text: str, *, pieces: int = 1, ends_with_stop_token: bool = False, **params: object) -> StopMatch | None:
    backend = byte_level_backend(258)  # every byte is a token
    scanner = StopScanner(TextDecoder(backend), SamplingParams(**params))
    token_ids = backend.encode(text, add_special_tokens=False).ids
    for start in range(0, len(token_ids), pieces):
        piece = token_ids[start : start + pieces]
        is_last = start + pieces >= len(token_ids)
        if (match := scanner.feed(piece, ends_with_stop_token=ends_with_stop_token and is_last)) is not None:
            return match
    return None


def expected(text: str, stop: list[str], *, min_tokens: int, is_included: bool) -> StopMatch | None:
    for num_tokens in range(min_tokens + 1, len(text) + 1):
        shown, before = text[:num_tokens], num_tokens - 1
        ends = [(shown.find(s, max(0, before - len(s) + 1)), s) for s in stop]
        found = [(start, s) for start, s in ends if start >= 0]
        if found:
            start, s = min(found, key=lambda pair: pair[0])
            return StopMatch(s, text[: start + len(s) if is_included else start], num_tokens)
    return None


@settings(deadline=None, max_examples=300)
@given(
    text=st.text(alphabet="ab", max_size=24),
    stop=st.lists(st.text(alphabet="ab", min_size=1, max_size=5), min_size=1, max_size=3),
    pieces=st.integers(1, 5),
    min_tokens=st.integers(0, 5),
    is_included=st.booleans(),
)
def test_first_occurrence_ends_the_text(
    text: str, stop: list[str], pieces: int, min_tokens: int, is_included: bool
) -> None:
    match = scan(
        text, pieces=pieces, stop=stop, min_tokens=min_tokens, include_stop_str_in_output=is_included, max_tokens=99
    )
    assert match == expected(text, stop, min_tokens=min_tokens, is_included=is_included)


def test_text_of_a_stop_token_counts_only_when_it_is_included() -> None:
    assert scan("ab", stop="b", ends_with_stop_token=True) is None
    assert scan("ab", stop="b", ends_with_stop_token=True, include_stop_str_in_output=True) == StopMatch("b", "ab", 2)


@settings(deadline=None)
@given(
    text=st.text(alphabet="abc", max_size=12),
    stop=st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=3),
)
def test_what_is_shown_never_has_to_be_taken_back(text: str, stop: list[str]) -> None:
    shown = 0
    for length in range(1, len(text) + 1):
        grown = text[:length]
        found = [grown.find(s) for s in stop if s in grown]
        if found:
            assert shown <= min(found)
            return
        now_shown = length - held_back(grown, stop)
        assert now_shown >= shown
        shown = now_shown
    could_begin = [n for n in range(1, len(text) + 1) if any(s.startswith(text[-n:]) for s in stop)]
    assert len(text) - shown == max(could_begin, default=0)
