"""Outputs of a stream that hold only what is new, news that announce themselves, and leaving without waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from support.engine_rig import assert_idle, make_engine

from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.mailbox import NotifyingMailbox
from pagednb.sampling_params import SamplingParams


@pytest.fixture
def engine() -> Iterator[LLMEngine]:
    engine, _ = make_engine()
    yield engine
    engine.shutdown()


def test_deltas_put_together_are_the_whole(engine: LLMEngine) -> None:
    params = SamplingParams(n=2, seed=3, max_tokens=20, stop="nothing has this")
    with engine.open_call(stream=True) as call:
        call.submit(None, "abc", params)
        whole = [output for _, output in call.results()][-1]
    texts, token_ids = ["", ""], [(), ()]
    with engine.open_call(stream=True, deltas=True, returns_prompts=False) as call:
        call.submit(None, "abc", params)
        for _, output in call.results():
            assert output.prompt_token_ids == ()
            for completion in output.outputs:
                texts[completion.index] += completion.text
                token_ids[completion.index] += completion.token_ids
    assert [(completion.text, completion.token_ids) for completion in whole.outputs] == list(
        zip(texts, token_ids, strict=True)
    )


def test_a_mailbox_says_when_there_is_news_on_the_engine_thread(engine: LLMEngine) -> None:
    notes: list[str] = []
    rang = threading.Event()
    mailbox = NotifyingMailbox(lambda: (notes.append(threading.current_thread().name), rang.set()))
    with engine.open_call(mailbox=mailbox) as call:
        call.submit("key", "abc", SamplingParams(max_tokens=3))
        assert rang.wait(10)
        assert [key for key, _ in call.poll(0)] == ["key"]
    assert notes == ["pagednb-engine"]  # once: nobody watches the tokens


def test_who_abandons_a_call_does_not_wait_and_leaves_nothing() -> None:
    engine, executor = make_engine()
    executor.before_step = lambda: time.sleep(0.001)
    with engine.open_call(stream=True) as call:
        call.submit(None, "abc", SamplingParams(max_tokens=200))
        assert call.poll(10)
        assert call.abandon() and not call.abandon()
        assert call.num_pending == 0 and call.poll(0) == []
        assert_idle(engine)  # commands run in order: the abort comes first
    engine.shutdown()
