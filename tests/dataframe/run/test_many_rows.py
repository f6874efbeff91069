"""Many short rows through a whole engine: work is handed over a chunk at a time, and a row that is done leaves nothing.

Counted, not timed: what is encoded before the engine has something to do, and which objects are alive meanwhile.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pytest
from support.engine_rig import RigBuilder, make_engine

from pagednb.dataframe.generation.text_task import GenerateTask
from pagednb.dataframe.prompts.chunks import CHUNK_ROWS
from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.run.row_job import MIN_PENDING_ROWS, run_rows
from pagednb.dataframe.run.task import EncodedPrompt
from pagednb.engine.collected import CollectedGroup, CollectedSequence
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.loop import EngineLoop
from pagednb.engine.submission import Submission
from pagednb.outputs import CompletionOutput, RequestOutput
from pagednb.request import Request, RequestUpdate
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.sequence import Sequence

NUM_ROWS = 3 * MIN_PENDING_ROWS
TASK = GenerateTask(SamplingParams(max_tokens=1, seed=3))
PER_ROW = (EncodedPrompt, Request, Submission, CollectedGroup, CollectedSequence, Sequence)
"""What a row under way may have; of each at most as many as rows are under way."""
PASSING = (RequestUpdate, RequestOutput, CompletionOutput)


@pytest.fixture
def engine() -> Iterator[LLMEngine]:
    engine, _ = make_engine(RigBuilder(num_blocks=2000, max_num_seqs=128, max_num_batched_tokens=4096))
    yield engine
    engine.shutdown()


def rows(num_rows: int = NUM_ROWS) -> Iterator[tuple[int, str]]:
    return ((row, f"ticket {row}") for row in range(num_rows))


def alive(*types: type) -> Counter[str]:
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in types)


def test_the_engine_works_after_the_first_chunk(engine: LLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    num_encoded, at_submission = 0, []
    encode, submit = engine.encode, EngineLoop.submit

    def counting_encode(texts: list[str], **options: bool) -> object:
        nonlocal num_encoded
        num_encoded += len(texts)
        return encode(texts, **options)

    def noting_submit(loop: EngineLoop, submissions: list[Submission]) -> None:
        at_submission.append((num_encoded, len(submissions)))
        submit(loop, submissions)

    monkeypatch.setattr(engine, "encode", counting_encode)
    monkeypatch.setattr(EngineLoop, "submit", noting_submit)
    outcome = run_rows(engine, rows(), TASK, num_rows=NUM_ROWS)
    assert at_submission == [(CHUNK_ROWS * chunk, CHUNK_ROWS) for chunk in range(1, NUM_ROWS // CHUNK_ROWS + 1)]
    assert outcome.figures.finished == NUM_ROWS


def test_rows_that_are_done_leave_no_objects_and_no_cycles(engine: LLMEngine) -> None:
    window = max(MIN_PENDING_ROWS, 2 * engine.max_num_seqs)
    most: Counter[str] = Counter()

    def watch(figures: RunFigures) -> None:
        for name, count in alive(*PER_ROW).items():
            most[name] = max(most[name], count)

    gc.collect()
    gc.disable()  # what is gone is gone without it
    try:
        outcome = run_rows(engine, rows(), TASK, num_rows=NUM_ROWS, watch=watch)
        engine.status()  # the loop has delivered and forgotten
        left = alive(*PER_ROW, *PASSING)
    finally:
        gc.enable()
    assert outcome.figures.failed == 0
    assert most["Request"] > 0
    assert {name: count for name, count in most.items() if count > window + CHUNK_ROWS} == {}
    assert {name: count for name, count in left.items() if count > CHUNK_ROWS} == {}


def test_a_template_is_encoded_once_for_many_rows(engine: LLMEngine) -> None:
    guide = "the quick brown fox jumps over the lazy dog, and the fox. " * 4
    encoder = engine._codec.encoder
    before = encoder.num_chars_encoded
    texts = ((row, f"{guide}ticket {row}") for row in range(2000))
    outcome = run_rows(engine, texts, TASK, num_rows=2000)
    assert outcome.figures.finished == 2000
    assert encoder.num_chars_encoded - before < 2000 * len(guide) / 2
