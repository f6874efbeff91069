"""A stream shows exactly the text of the whole, never half a character."""

from __future__ import annotations

import itertools

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_tokenizers import byte_fallback_backend, byte_level_backend

from pagednb.engine.detokenizer import REPLACEMENT, IncrementalDetokenizer, TextDecoder

BACKENDS = {"byte level": byte_level_backend, "byte fallback": byte_fallback_backend}


def streamed(backend: tokenizers.Tokenizer, pieces: list[list[int]], *, skip_special_tokens: bool) -> list[str]:
    """The text after each piece, and after the flush."""
    detokenizer = IncrementalDetokenizer(TextDecoder(backend), skip_special_tokens=skip_special_tokens)
    texts = []
    for piece in pieces:
        detokenizer.feed(piece)
        texts.append(detokenizer.text)
    detokenizer.flush()
    return [*texts, detokenizer.text]


def cut(token_ids: list[int], sizes: list[int]) -> list[list[int]]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(token_ids[start : start + size])
        start += size
    return [*pieces, token_ids[start:]]


@pytest.mark.parametrize("kind", BACKENDS)
@settings(deadline=None, max_examples=150)
@given(
    text=st.text(alphabet=st.sampled_from("the stop, aé😀👍🏽日本\u200d\n"), max_size=30),
    sizes=st.lists(st.integers(0, 3), max_size=40),
)
def test_stream_of_text_is_the_text_and_shows_no_half_characters(kind: str, text: str, sizes: list[int]) -> None:
    backend = BACKENDS[kind]()
    token_ids = backend.encode(text).ids
    texts = streamed(backend, cut(token_ids, sizes), skip_special_tokens=True)
    assert texts[-1] == backend.decode(token_ids, skip_special_tokens=True)
    assert not any(REPLACEMENT in shown for shown in texts)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))


@pytest.mark.parametrize("kind", BACKENDS)
@settings(deadline=None, max_examples=300)
@given(data=st.data(), skip_special_tokens=st.booleans())
def test_stream_of_any_tokens_is_their_decoding(kind: str, data: st.DataObject, skip_special_tokens: bool) -> None:
    backend = BACKENDS[kind]()
    num_tokens = backend.get_vocab_size()
    ids = st.one_of(st.integers(0, 1), st.integers(0, num_tokens - 1), st.integers(num_tokens, num_tokens + 3))
    token_ids = data.draw(st.lists(ids, max_size=25))
    sizes = data.draw(st.lists(st.integers(0, 4), max_size=25))
    whole = backend.decode(token_ids, skip_special_tokens=skip_special_tokens)
    texts = streamed(backend, cut(token_ids, sizes), skip_special_tokens=skip_special_tokens)
    # byte fallback decodes a run of bytes as a whole: a bad byte spoils good ones before it, which a stream has shown
    if kind == "byte level" or REPLACEMENT not in whole:
        assert texts[-1] == whole


def test_an_emoji_appears_with_its_last_byte() -> None:
    backend = byte_level_backend(258)
    token_ids = backend.encode("a😀b", add_special_tokens=False).ids
    texts = streamed(backend, [[token_id] for token_id in token_ids], skip_special_tokens=True)
    assert texts == ["a", "a", "a", "a", "a😀", "a😀b", "a😀b"]


def test_the_end_of_half_a_character_is_shown_as_the_decoder_shows_it() -> None:
    backend = byte_level_backend(258)
    half = backend.encode("a😀", add_special_tokens=False).ids[:-1]
    assert streamed(backend, [half], skip_special_tokens=True) == ["", backend.decode(half)]


def test_special_tokens_are_shown_when_asked_for() -> None:
    backend = byte_level_backend()
    token_ids = [*backend.encode("the").ids, 1]
    assert streamed(backend, [[i] for i in token_ids], skip_special_tokens=False)[-1] == "<s>the</s>"
    assert streamed(backend, [[i] for i in token_ids], skip_special_tokens=True)[-1] == "the"
