"""Hundreds of clients at once, some of whom leave: each gets its own answer, and nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections import Counter

import httpx
from support.engine_rig import expected_tokens, make_engine
from support.served import is_idle, start, wait_until

from pagednb.sampling_params import SamplingParams
from pagednb.server.served_call import ServedCall

NUM_STREAMS = 200
RIG = {"num_blocks": 1500, "max_num_seqs": 64, "max_num_batched_tokens": 512}


async def stream(client: httpx.AsyncClient, seed: int, leaves_after: int | None) -> str | None:
    """Return the text of a stream, or None from a client who left."""
    body = {"prompt": [5, 6, 7], "max_tokens": 40, "ignore_eos": True, "seed": seed, "stream": True}
    text, num_chunks = "", 0
    async with client.stream("POST", "/v1/completions", json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if leaves_after is not None and num_chunks >= leaves_after:
                return None
            if line.startswith("data: {"):
                text += httpx.Response(200, content=line[6:]).json()["choices"][0]["text"]
                num_chunks += 1
    return text


async def storm(url: str, randomness: random.Random, num_streams: int = NUM_STREAMS) -> list[str | None]:
    leavers = set(randomness.sample(range(num_streams), num_streams // 10))
    limits = httpx.Limits(max_connections=None)
    stays = [randomness.randint(0, 3) if seed in leavers else None for seed in range(num_streams)]
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
        return await asyncio.gather(*(stream(client, seed, leaves) for seed, leaves in enumerate(stays)))


def test_a_storm_of_streams_leaves_nothing_behind() -> None:
    engine, _ = make_engine(**RIG)
    num_threads = threading.active_count()
    server = start(engine)
    texts = asyncio.run(storm(server.url, random.Random(1)))
    wait_until(lambda: is_idle(engine))
    engine.check_integrity()
    assert engine.status().scheduler.num_used_blocks == 0
    stayed = [(seed, text) for seed, text in enumerate(texts) if text is not None]
    assert len(stayed) >= NUM_STREAMS * 8 // 10
    for seed, text in stayed:
        assert text == engine.tokenizer.decode(expected_tokens(seed, 3, 40), skip_special_tokens=True), seed
    assert not server._web._desk.num_sequences and not server._web._desk._calls
    server.stop()
    assert threading.active_count() == num_threads
    engine.shutdown()
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is ServedCall]


def test_a_second_storm_leaves_as_much_as_the_first() -> None:
    engine, _ = make_engine(**RIG)
    server = start(engine)
    left = []
    for seed in (2, 3):
        asyncio.run(storm(server.url, random.Random(seed), num_streams=150))
        wait_until(lambda: is_idle(engine))
        wait_until(lambda: not server._web.server_state.connections)
        gc.collect()
        kinds = Counter(type(each) for each in gc.get_objects())
        left.append(
            {kind: num for kind, num in kinds.items() if str(kind.__module__).startswith(("pagednb", "_asyncio"))}
        )
    for kind, num in left[1].items():
        # rows of the batch keep who was last in them, and storms fill more or fewer of them
        slack = 2 * RIG["max_num_seqs"] if kind is SamplingParams else 5
        assert num <= left[0].get(kind, 0) + slack, kind
    server.stop()
    engine.shutdown()


def test_a_thousand_answers_in_one_piece_wake_the_event_loop_once_a_step_at_most() -> None:
    engine, executor = make_engine(**RIG)
    server = start(engine)
    switchboard = server._web._desk._switchboard

    async def ask_all() -> list[str]:
        async with httpx.AsyncClient(
            base_url=server.url, timeout=30, limits=httpx.Limits(max_connections=50)
        ) as client:
            bodies = [{"prompt": [[5, 6, 7]] * 50, "max_tokens": 20, "seed": seed} for seed in range(20)]
            answers = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))
        return [[choice["text"] for choice in answer.json()["choices"]] for answer in answers]

    texts = asyncio.run(ask_all())
    for seed, group in enumerate(texts):
        assert set(group) == {engine.tokenizer.decode(expected_tokens(seed, 3, 20), skip_special_tokens=True)}
    assert 1 <= switchboard.num_rounds <= executor.num_steps
    server.stop()
    engine.shutdown()
