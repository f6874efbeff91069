"""Result caches against a plain dict: what was put comes back, whatever else happens to memory or file."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagednb.dataframe.kept.cache_file import HEADER, KEY_BYTES, MARK, CacheFile
from pagednb.dataframe.kept.result_cache import MemoryCache, answer_key
from pagednb.dataframe.kept.stored_answer import embedding_output, pack_answer, unpack_answer
from pagednb.errors import OptionError
from pagednb.outputs import CompletionOutput, Logprob, RequestOutput


def key_of(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "little")


def test_keys_tell_prompts_models_and_tasks_apart() -> None:
    prompts = [[1, 2], [1, 2, 0], [258], [2, 1], []]
    names = [("a", "bc"), ("ab", "c"), ("", "abc"), ("é", "\ud800")]
    keys = {
        answer_key([np.array(ids, dtype=np.int64)], model=model, task=task) for ids in prompts for model, task in names
    }
    assert len(keys) == len(prompts) * len(names)
    ids = np.arange(10, dtype=np.int32)
    same = [answer_key([array], model="m", task="t") for array in (ids, ids.astype(np.int64), np.repeat(ids, 2)[::2])]
    assert len(set(same)) == 1


@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=400), st.booleans()), max_size=60))
def test_memory_is_bounded_and_holds_what_was_used_last(steps: list[tuple[int, bytes, bool]]) -> None:
    cache, model = MemoryCache(max_bytes=2000), {}
    for number, answer, is_put in steps:
        cache.begin_run()
        if is_put:
            cache.put(key_of(number), answer)
            model[number] = answer
            assert cache.get(key_of(number)) == answer
        else:
            assert cache.get(key_of(number)) in (None, model.get(number))
        assert cache.num_bytes <= 2000
        assert cache.num_bytes >= 200 * len(cache)


def test_what_is_used_stays() -> None:
    cache = MemoryCache(max_bytes=10 * 300)
    cache.put(key_of(0), b"x" * 100)
    for number in range(1, 50):
        cache.put(key_of(number), b"x" * 100)
        assert cache.get(key_of(0)) is not None
    assert len(cache) == 10
    cache.put(key_of(99), b"x" * 5000)  # larger than everything: not kept, and no harm
    assert cache.num_bytes <= 3000


def test_a_run_too_large_for_memory_finds_what_fits_when_it_comes_again() -> None:
    cache = MemoryCache(max_bytes=10 * 300)
    for number in range(100, 110):  # of a run that nobody repeats
        cache.put(key_of(number), b"x" * 100)
    for _ in range(2):
        cache.begin_run()
        found = [number for number in range(30) if cache.get(key_of(number)) is not None]
        for number in set(range(30)) - set(found):
            cache.put(key_of(number), b"x" * 100)
    assert found == list(range(10)) and len(cache) == 10
    cache.begin_run()
    cache.put(key_of(99), b"x" * 100)
    assert cache.get(key_of(99)) is not None, "a run makes room among what earlier ones left"


def test_a_file_gives_back_what_was_put(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "labels.cache"
    randomness = random.Random(0)
    answers = {key_of(i): randomness.randbytes(randomness.randint(0, 3000)) for i in range(300)}
    with CacheFile(path) as cache:
        for key, answer in answers.items():
            cache.put(key, answer)
            assert cache.get(key) == answer
    with CacheFile(path) as cache:
        assert len(cache) == 300
        assert {key: cache.get(key) for key in answers} == answers
        assert cache.get(key_of(10**6)) is None
        before = path.stat().st_size
        cache.put(key_of(0), answers[key_of(0)])
        assert path.stat().st_size == before


@given(data=st.data())
def test_any_damage_costs_only_the_records_it_hits(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cache") / "cache"
    answers = {key_of(i): data.draw(st.sampled_from([b"", MARK, MARK * 9, b"abc" * 50])) + bytes([i]) for i in range(6)}
    ends = [len(HEADER)]
    with CacheFile(path) as cache:
        for key, answer in answers.items():
            cache.put(key, answer)
            ends.append(path.stat().st_size)
    content = path.read_bytes()
    length = data.draw(st.integers(len(HEADER), len(content)))
    torn = content[:length]  # killed while writing, then written on by another run
    path.write_bytes(torn)
    whole = [key for key, end in zip(answers, ends[1:], strict=True) if end <= length]
    with said_if(length not in ends), CacheFile(path) as cache:
        assert len(cache) == len(whole)
        cache.put(key_of(77), b"after")
    assert path.read_bytes()[:length] == torn  # appended only
    is_healed = any(path.read_bytes()[:end] == content[:end] for end in ends if end > length)
    with said_if(length not in ends and not is_healed), CacheFile(path) as cache:
        assert {key: cache.get(key) for key in whole} == {key: answers[key] for key in whole}
        assert cache.get(key_of(77)) == b"after"


@pytest.mark.parametrize("num_missing", range(1, len(MARK) + 1))
@pytest.mark.parametrize("inside", [b"", MARK, MARK + bytes(60)])
def test_a_torn_record_that_the_next_one_completes_costs_neither(
    tmp_path: pathlib.Path, inside: bytes, num_missing: int
) -> None:
    """The bytes that were lost are those with which the next record begins."""
    path = tmp_path / "cache"
    with CacheFile(path) as cache:
        cache.put(key_of(1), b"before")
        cache.put(key_of(2), inside + MARK[:num_missing])
    path.write_bytes(path.read_bytes()[:-num_missing])
    with said_if(True), CacheFile(path) as cache:
        cache.put(key_of(77), b"after")
        cache.put(key_of(78), b"and on")
    with CacheFile(path) as cache:
        assert [cache.get(key_of(i)) for i in (1, 77, 78)] == [b"before", b"after", b"and on"]
        assert cache.get(key_of(2)) == inside + MARK[:num_missing]


def test_an_answer_that_looks_like_a_record_is_none(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cache"
    with CacheFile(tmp_path / "other") as other:
        other.put(key_of(5), b"planted")
    planted = (tmp_path / "other").read_bytes()[len(HEADER) :]
    with CacheFile(path) as cache:
        cache.put(key_of(1), planted * 3 + b"end")
    with path.open("ab") as file:
        file.write(b"rubbish")
    with pytest.warns(UserWarning, match="7 bytes of unfinished"), CacheFile(path) as cache:
        assert len(cache) == 1 and cache.get(key_of(5)) is None


def said_if(is_broken: bool) -> contextlib.AbstractContextManager[object]:
    return pytest.warns(UserWarning, match="unfinished") if is_broken else contextlib.nullcontext()


def test_a_flipped_byte_is_never_an_answer(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cache"
    with CacheFile(path) as cache:
        for number in range(3):
            cache.put(key_of(number), b"answer %d" % number)
    content = path.read_bytes()
    for place in range(len(HEADER), len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.warns(UserWarning, match="2 answers are whole"), CacheFile(path) as cache:
            found = [cache.get(key_of(number)) for number in range(3)]
        assert sorted(answer for answer in found if answer) != []
        assert all(answer in (None, b"answer %d" % number) for number, answer in enumerate(found))


def test_files_of_others_are_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes")
    with pytest.raises(OptionError, match="another kind"):
        CacheFile(path)
    assert path.read_text() == "my notes"
    with pytest.raises(OptionError, match="cannot be opened"):
        CacheFile(tmp_path)


def test_two_kernels_may_share_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cache"
    with CacheFile(path) as mine, CacheFile(path) as other:

        def write(cache: CacheFile, first: int) -> None:
            for number in range(first, first + 200):
                cache.put(key_of(number), os.urandom(100) + bytes([first // 200]))

        threads = [threading.Thread(target=write, args=args) for args in ((mine, 0), (mine, 200), (other, 400))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(mine.get(key_of(number))[-1] == number // 200 for number in range(400))
    with CacheFile(path) as cache:
        assert len(cache) == 600


def test_embeddings_come_back_bit_by_bit() -> None:
    vector = np.array([0.1, -1e-30, 3e38, 0], dtype=np.float32)
    [output] = unpack_answer(pack_answer([embedding_output(vector)]))
    assert output.embedding is not None and output.embedding.dtype == np.float32
    assert output.embedding.tobytes() == vector.tobytes() and output.text == ""


def test_answers_come_back_digit_by_digit() -> None:
    completion = CompletionOutput(
        index=1,
        text='é "\n" 😀',
        token_ids=(5, 70000),
        cumulative_logprob=-0.1 - 0.2,
        logprobs=({5: Logprob(-1e-17, 1, "é"), 9: Logprob(float("-inf"))}, {}),
        finish_reason="length",
        stop_reason="END",
    )
    plain = CompletionOutput(index=0, text="", token_ids=(), finish_reason="stop", stop_reason=7)
    outputs = [RequestOutput(request_id="", prompt=None, prompt_token_ids=(), outputs=(plain, completion))] * 2
    assert unpack_answer(pack_answer(outputs)) == outputs
    for other in (
        b'[{"a":1}]',
        b'[["x"]]',
        b'["x"]',
        b'["AAAA"]',
        b"[1]",
        b"[[{}]]",
        b'[[{"token_ids":[],"logprobs":5}]]',
    ):
        with pytest.raises((ValueError, LookupError, TypeError)):
            unpack_answer(other)
    for none in (b"{}", b"[]", b"[[]]", b"3"):
        with pytest.raises(ValueError, match="no answer"):
            unpack_answer(none)
