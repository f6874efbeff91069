"""Digest chains: equal exactly when salt and all tokens up to the block's end are equal."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pagednb.kv_cache.prefix_cache import BlockHasher, PrefixCache


def chain_by_hand(token_ids: np.ndarray, block_size: int, salt: bytes) -> list[bytes]:
    digests, parent = [], hashlib.blake2b(salt, digest_size=16).digest()
    for start in range(0, len(token_ids) - block_size + 1, block_size):
        data = b"".join(int(token).to_bytes(4, "little") for token in token_ids[start : start + block_size])
        parent = hashlib.blake2b(parent + data, digest_size=16).digest()
        digests.append(parent)
    return digests


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from([4, 16]),
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), max_size=70), st.sampled_from([b"", b"salt"]), st.integers(0, 70)),
        min_size=1,
        max_size=8,
    ),
)
def test_what_was_hashed_before_changes_no_digest(block_size, sequences):
    """Few different tokens: neighbours share prefixes of all lengths. A chain may also grow piece by piece."""
    hasher = BlockHasher(block_size)
    for tokens, salt, num_known_before in sequences:
        token_ids = np.array(tokens, dtype=np.int32)
        digests: list[bytes] = []
        hasher.extend(digests, token_ids[:num_known_before], salt)
        hasher.extend(digests, token_ids, salt)
        assert digests == chain_by_hand(token_ids, block_size, salt)


def test_sequences_with_a_shared_prefix_pay_for_their_own_part_only(monkeypatch):
    calls = []
    real = hashlib.blake2b
    monkeypatch.setattr(hashlib, "blake2b", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    hasher, prefix = BlockHasher(16), np.arange(512, dtype=np.int32)
    for row in range(20):
        calls.clear()
        hasher.extend([], np.concatenate([prefix, np.full(40, row, dtype=np.int32)]), b"")
    assert len(calls) <= 3


def test_match_is_the_longest_known_prefix():
    cache = PrefixCache()
    assert cache.register([5, 6, 7], [b"a", b"b", b"c"]) == [5, 6, 7]
    assert cache.match([b"a", b"b", b"x", b"c"]) == [5, 6]
    assert cache.match([b"x"]) == []
    cache.forget([6])
    assert cache.match([b"a", b"b", b"c"]) == [5]


def test_the_last_match_is_worth_nothing_once_a_name_is_forgotten():
    cache = PrefixCache()
    cache.register([5, 6, 7], [b"a", b"b", b"c"])
    assert cache.match([b"a", b"b"]) == [5, 6]
    assert cache.match([b"a", b"b", b"c", b"x"]) == [5, 6, 7], "it goes on where the last one ended"
    assert cache.match([b"a"]) == [5]
    assert cache.match([b"y", b"b", b"c"]) == []
    cache.forget([5])
    assert cache.match([b"a", b"b", b"c"]) == []
    cache.register([5], [b"a"])
    cache.match([b"a", b"b", b"c"]).clear()  # the caller's own list
    assert cache.match([b"a", b"b", b"c"]) == [5, 6, 7]
    cache.clear()
    assert cache.match([b"a", b"b", b"c"]) == []


def test_the_first_name_and_the_first_block_stay():
    cache = PrefixCache()
    cache.register([5], [b"a"])
    assert cache.register([6], [b"a"]) == []
    assert cache.register([5], [b"b"]) == []
    assert cache.match([b"a"]) == [5] and cache.block_ids == {5}
    cache.check_integrity()
