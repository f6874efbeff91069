"""Seeds: every sequence its own, the same in every run, never from a global generator."""

from __future__ import annotations

import numpy as np
import pytest
from support.tiny_tokenizers import byte_level_tokenizer

from pagednb.config import CacheGeometry
from pagednb.engine.input_processor import InputProcessor
from pagednb.engine.seeds import mix64
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.engine.tokenization import TextCodec
from pagednb.errors import PromptError
from pagednb.kv_cache.prefix_cache import BlockHasher
from pagednb.request import Request
from pagednb.sampling_params import SamplingParams

GEOMETRY = CacheGeometry(num_blocks=100, block_size=4, max_model_len=50)
PROMPT = TokenPrompt(np.array([1, 2, 3], dtype=np.int32))


def make(processor: InputProcessor, **params: object) -> tuple[Request, ...]:
    return processor.make_requests(PROMPT, SamplingParams(**params), stream=False, priority=0)


def test_seeds_are_distinct_64_bit_numbers() -> None:
    seeds = np.array([mix64(seed, counter) for seed in range(100) for counter in range(100)], dtype=np.int64)
    assert len(np.unique(seeds)) == len(seeds)
    bits = (seeds.view(np.uint64)[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.03


def test_unseeded_requests_depend_on_the_engine_seed_and_their_number() -> None:
    def seeds(seed: int) -> list[int]:
        processor = InputProcessor(None, GEOMETRY, vocab_size=10, seed=seed)
        return [request.seed for _ in range(3) for request in make(processor, n=2)]

    assert seeds(1) == seeds(1)
    assert len({*seeds(1), *seeds(2)}) == 12


@pytest.mark.parametrize("seed", [0, -(2**63), 2**63 - 1, 2**64 - 2])
def test_seeded_samples_count_on_from_the_seed(seed: int) -> None:
    requests = make(InputProcessor(None, GEOMETRY, vocab_size=10, seed=0), n=3, seed=seed)
    assert [(request.seed - seed) % 2**64 for request in requests] == [0, 1, 2]
    assert all(-(2**63) <= request.seed < 2**63 for request in requests)
    assert [request.parent_id for request in requests] == [None, requests[0].request_id, requests[0].request_id]


def test_text_whose_tokens_the_model_lacks_is_refused() -> None:
    processor = InputProcessor(TextCodec(byte_level_tokenizer()), GEOMETRY, vocab_size=10, seed=0)
    with pytest.raises(PromptError, match="outside the model's vocabulary of 10"):
        processor.tokenize(["hello"])


def test_request_ids_are_never_reused() -> None:
    processor = InputProcessor(None, GEOMETRY, vocab_size=10, seed=0)
    ids = [request.request_id for _ in range(5) for request in make(processor, n=2)]
    assert len(set(ids)) == 10


def test_prompts_bring_the_names_of_their_full_blocks() -> None:
    token_ids = np.arange(1, 10, dtype=np.int32)
    named, unnamed = (
        InputProcessor(None, GEOMETRY, vocab_size=10, seed=0, enable_prefix_caching=is_on).make_requests(
            TokenPrompt(token_ids), SamplingParams(n=2), stream=False, priority=0
        )
        for is_on in (True, False)
    )
    expected: list[bytes] = []
    BlockHasher(GEOMETRY.block_size).extend(expected, token_ids, named[0].cache_salt)
    assert [request.block_digests for request in named] == [tuple(expected)] * 2
    assert len(expected) == 2
    assert [request.block_digests for request in unnamed] == [(), ()]
