"""Chunks that prefill together: plain shapes for comparison, and the first step of the benchmark workloads."""

from __future__ import annotations

import dataclasses

from pagednb.benchmark.workloads import make_workload

MAX_CHUNK_TOKENS = 8192


@dataclasses.dataclass(frozen=True)
class PrefillCase:
    """Chunks of one step as (new tokens, length with the cached ones); the first ``num_shared`` keys are common."""

    chunks: tuple[tuple[int, int], ...]
    num_shared: int = 0

    @property
    def query_lens(self) -> list[int]:
        return [query_len for query_len, _ in self.chunks]

    @property
    def seq_lens(self) -> list[int]:
        return [seq_len for _, seq_len in self.chunks]

    @property
    def num_pairs(self) -> float:
        """Query and key pairs that causal attention multiplies."""
        return sum(n * length - n * (n - 1) / 2 for n, length in self.chunks)

    @property
    def is_even(self) -> bool:
        """Whether all chunks are alike, as one dense batch is."""
        return len(set(self.chunks)) == 1


def prefill_cases(seed: int = 0) -> dict[str, PrefillCase]:
    """Return the cases by name."""
    return {
        "8 x 1024": PrefillCase(((1024, 1024),) * 8),
        "1 x 8192": PrefillCase(((8192, 8192),)),
        "40 x 200 after 512": PrefillCase(((200, 712),) * 40),
        "mixed 16..3000": PrefillCase(tuple((n, n) for n in (3000, 2000, 1200, 900, 500, 300, 150, 80, 46, 16))),
        "chatlike step": _first_step("chatlike", 0, seed),
        "label step": _first_step("label", 512, seed),
    }


def _first_step(name: str, num_cached: int, seed: int) -> PrefillCase:
    """Return the chunks of the first full step of a workload whose prompts have ``num_cached`` tokens in the cache."""
    chunks, room = [], MAX_CHUNK_TOKENS
    for prompt, _ in make_workload(name, seed):
        num_new = min(len(prompt) - num_cached, room)
        chunks.append((num_new, num_cached + num_new))
        room -= num_new
        if room == 0:
            break
    return PrefillCase(tuple(chunks), num_cached)
