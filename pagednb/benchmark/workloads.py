"""Benchmark workloads: lists of (prompt token ids, new tokens), alike for every engine that is compared.

Token ids are random, below every model's vocabulary, so that no engine wins by its tokenizer. The random streams are
part of the contract: figures of different engines and days are compared request by request. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pagednb.errors import OptionError, nearest_name

VOCAB = 20_000
"""Token ids stay below this; a model with a smaller vocabulary gets ids below its own, and thus other requests."""

SUMMARIES: Mapping[str, str] = {
    "single": "one chat turn at a time: 128 tokens in, 256 out",
    "chatlike": "1,000 requests at once, log-normal lengths of 8 to 1,024 tokens in and out, as in ShareGPT",
    "nano": "256 requests at once, 100 to 1,024 tokens in and out: nano-vllm's own benchmark",
    "label": "4,096 rows at once behind one instruction of 512 tokens, 8 tokens out: a labelled table",
    "chat-while-label": "single chat turns, streamed, while label runs; what both lose by it",
    "busy-kernel": "single chat turns, streamed, while another thread of this process computes in pure Python",
}
"""What ``pagednb bench`` can run, in its order."""

NAMES = tuple(SUMMARIES)

SINGLE_NUM_NEW = 257
"""``single`` times this many new tokens against one, so that 256 intervals lie between them."""

LONGEST_SEQUENCES: Mapping[str, int] = {
    "single": 128 + SINGLE_NUM_NEW,
    "chatlike": 1024 + 1024,
    "nano": 1024 + 1024,
    "label": 512 + 256 + 8,
    "chat-while-label": 512 + 256 + 8,
    "busy-kernel": 128 + 256,
}
"""Tokens of a prompt and its answer together, at most."""

_LOWEST_ID = 10
_CHAT_TOKENS = (128, 256)


class TimedRequest(NamedTuple):
    """A prompt and how many tokens must come back, exactly."""

    prompt_token_ids: list[int]
    num_new_tokens: int


Workload = list[TimedRequest]


def make_workload(name: str, seed: int, *, vocab_size: int = VOCAB) -> Workload:
    """Return the requests of workload ``name``, one of the first four; equal seeds give equal requests.

    Raises:
        OptionError: an unknown name, or a vocabulary too small for random prompts.
    """
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    ids = _IdMaker(rng, vocab_size)
    if name == "nano":
        return [TimedRequest(ids.make(int(rng.integers(100, 1025))), int(rng.integers(100, 1025))) for _ in range(256)]
    if name == "chatlike":
        return [_sharegpt_like(rng, ids) for _ in range(1000)]
    if name == "label":
        prefix = ids.make(512)
        return [TimedRequest(prefix + ids.make(int(rng.integers(32, 257))), 8) for _ in range(4096)]
    if name == "single":
        return [TimedRequest(ids.make(_CHAT_TOKENS[0]), _CHAT_TOKENS[1])]
    raise unknown_workload(name)


def chat_turns(seed: int, *, vocab_size: int = VOCAB) -> Iterator[TimedRequest]:
    """Yield chat turns as long as ``single``'s without end, no two alike."""
    ids = _IdMaker(np.random.default_rng([seed, sum(map(ord, "chat"))]), vocab_size)
    while True:
        yield TimedRequest(ids.make(_CHAT_TOKENS[0]), _CHAT_TOKENS[1])


def unknown_workload(name: str) -> OptionError:
    """Return the error for a workload that does not exist."""
    nearest = nearest_name(name, NAMES)
    hint = f"Did you mean {nearest!r}?" if nearest else f"There are: {', '.join(NAMES)}."
    return OptionError(f"There is no workload {name!r}.", hint=hint)


class _IdMaker:
    """Draws random token ids."""

    def __init__(self, rng: np.random.Generator, vocab_size: int) -> None:
        if vocab_size <= _LOWEST_ID:
            raise OptionError(f"The model's vocabulary of {vocab_size} tokens is too small for random prompts.")
        self._rng = rng
        self._end = min(VOCAB, vocab_size)

    def make(self, count: int) -> list[int]:
        ids: list[int] = self._rng.integers(_LOWEST_ID, self._end, size=count).tolist()
        return ids


def _sharegpt_like(rng: np.random.Generator, ids: _IdMaker) -> TimedRequest:
    num_in = int(np.clip(rng.lognormal(5.0, 0.9), 8, 1024))
    num_out = int(np.clip(rng.lognormal(5.1, 0.7), 8, 1024))
    return TimedRequest(ids.make(num_in), num_out)
