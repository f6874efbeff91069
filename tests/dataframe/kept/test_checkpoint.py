"""Checkpoint folders: whole parts or none, the right rows again, and no other run's rows."""

from __future__ import annotations

import itertools
import os
import pathlib
import time

import pytest

from pagednb.dataframe.kept.cache_file import CacheFile
from pagednb.dataframe.kept.checkpoint import Checkpoint, CheckpointFolder
from pagednb.dataframe.kept.run_spec import SPEC_FILE
from pagednb.dataframe.kept.stored_answer import unpack_answer
from pagednb.errors import CheckpointError, OptionError
from pagednb.outputs import CompletionOutput, RequestOutput

parquet = pytest.importorskip("pyarrow.parquet")
SPEC = {"verb": "generate", "template": "Label: {text}", "system": None, "model": "m", "labels": ["a", "b"]}


def answer(text: str) -> list[RequestOutput]:
    completion = CompletionOutput(index=0, text=text, token_ids=tuple(text.encode()), finish_reason="stop")
    return [RequestOutput(request_id="", prompt=None, prompt_token_ids=(), outputs=(completion,))]


def text_of(data: bytes | None) -> str | None:
    return None if data is None else unpack_answer(data)[0].text


def opened(path: pathlib.Path, **options: float) -> CheckpointFolder:
    return CheckpointFolder(Checkpoint(path, **options), SPEC)  # type: ignore[arg-type]


def parts_of(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.glob("part-*.parquet"))


def test_rows_come_back_and_failures_do_not(tmp_path: pathlib.Path) -> None:
    folder = opened(tmp_path / "deep" / "run", every_rows=2)
    for position, text in enumerate(["zero", "one", "two"]):
        folder.add(position, text.encode(), answer(text.upper()), None)
    folder.add(3, b"bad", None, "too long")
    folder.add(4, b"late", answer("LATE"), None)
    assert len(parts_of(folder.path)) == 2  # the fifth row is not written yet
    folder.write()
    folder.write()
    tables = [parquet.read_table(part).to_pydict() for part in parts_of(folder.path)]
    assert [table["position"] for table in tables] == [[0, 1], [2, 3], [4]]
    assert [table["text"] for table in tables] == [["ZERO", "ONE"], ["TWO", None], ["LATE"]]
    assert tables[1]["error"] == [None, "too long"]
    again = opened(folder.path)
    assert again.num_stored == 4
    assert text_of(again.take(99, b"one", is_shared=True)) == "ONE"
    assert text_of(again.take(98, b"one", is_shared=True)) == "ONE"
    assert again.take(3, b"bad", is_shared=True) is None
    assert again.take(0, b"unknown", is_shared=True) is None


def test_sampled_answers_go_to_their_own_rows_and_to_one_row_each(tmp_path: pathlib.Path) -> None:
    folder = opened(tmp_path)
    for position in (4, 7, 9):
        folder.add(position, b"same", answer(str(position)), None)
    folder.write()
    again = opened(tmp_path)
    taken = [text_of(again.take(position, b"same", is_shared=False)) for position in (9, 7, 100, 101)]
    assert taken == ["9", "7", "4", None]


def test_time_writes_too(tmp_path: pathlib.Path) -> None:
    folder = opened(tmp_path, every_s=0.05)
    folder.add(0, b"a", answer("a"), None)
    assert parts_of(tmp_path) == []
    time.sleep(0.06)
    folder.write_if_due()
    assert len(parts_of(tmp_path)) == 1


def test_another_run_is_refused_with_the_difference(tmp_path: pathlib.Path) -> None:
    opened(tmp_path).write()
    other = {**SPEC, "template": "Team: {text}", "labels": ["a"], "seed": 3}
    with pytest.raises(CheckpointError) as caught:
        CheckpointFolder(Checkpoint(tmp_path), other)
    for line in (
        "template: was 'Label: {text}', is 'Team: {text}'",
        "labels: was ['a', 'b'], is ['a']",
        "seed: was None, is 3",
    ):
        assert line in str(caught.value)
    assert "verb" not in str(caught.value)
    CheckpointFolder(Checkpoint(tmp_path), {**SPEC, "labels": ("a", "b")})  # a tuple is a list in JSON


def test_half_written_parts_are_no_parts(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened(tmp_path)
    folder.add(0, b"a", answer("A"), None)

    def die(self: object, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pathlib.Path, "replace", die)
        folder.write()
    (left_over,) = tmp_path.glob(".tmp-*")
    assert opened(tmp_path).num_stored == 0
    os.utime(left_over, (0, 0))
    folder.write()  # the row is still known
    assert text_of(opened(tmp_path).take(0, b"a", is_shared=True)) == "A"
    assert not left_over.exists()


def test_a_broken_part_costs_its_rows_only_and_is_said(tmp_path: pathlib.Path) -> None:
    folder = opened(tmp_path, every_rows=1)
    folder.add(0, b"a", answer("A"), None)
    folder.add(1, b"b", answer("B"), None)
    first = parts_of(tmp_path)[0]
    for content in (first.read_bytes()[:-20], b"", b"PAR1"):
        first.write_bytes(content)
        with pytest.warns(UserWarning, match="broken"):
            again = opened(tmp_path)
        assert again.num_stored == 1
        assert text_of(again.take(1, b"b", is_shared=True)) == "B"


def test_folders_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be used"):
        opened(tmp_path / "file")
    (tmp_path / SPEC_FILE).write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        opened(tmp_path)
    (tmp_path / SPEC_FILE).unlink()
    (tmp_path / "part-1.parquet").write_bytes(b"")
    with pytest.raises(CheckpointError, match="nobody knows"):
        opened(tmp_path)
    for bad in ({"every_rows": 0}, {"every_s": 0.0}, {"every_s": float("nan")}):
        with pytest.raises(OptionError, match="never"):
            Checkpoint(tmp_path, **bad)  # type: ignore[arg-type]


def test_what_differs_is_shown_where_it_differs(tmp_path: pathlib.Path) -> None:
    long = "Sort this ticket, please: " + "word " * 1000
    CheckpointFolder(Checkpoint(tmp_path), {"template": long, "task": {"max_tokens": 4, "stop": None}})
    with pytest.raises(CheckpointError) as caught:
        changed = long.replace("please", "now", 1)
        CheckpointFolder(Checkpoint(tmp_path), {"template": changed, "task": {"max_tokens": 5, "stop": None}})
    lines = str(caught.value).splitlines()
    assert "  max_tokens: was 4, is 5" in lines
    [template] = [line for line in lines if "template: " in line]
    assert "please" in template and "now" in template and len(template) < 200


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_a_spec_of_another_kind(content: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / SPEC_FILE).write_text(content)
    with pytest.raises(CheckpointError, match="does not say what was run"):
        opened(tmp_path)


def test_a_young_run_writes_sooner_than_an_old_one(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("pagednb.dataframe.kept.checkpoint.time.perf_counter", lambda: now_s)
    folder, wrote_at_s = opened(tmp_path), []
    for tick in range(2000):  # two rows a second
        now_s = tick / 2
        folder.add(tick, str(tick).encode(), answer("x"), None)
        if len(parts_of(tmp_path)) > len(wrote_at_s):
            wrote_at_s.append(now_s)
    assert wrote_at_s[:3] == [1, 2, 3]
    apart = [second - first for first, second in itertools.pairwise(wrote_at_s)]
    assert apart == sorted(apart) and apart[-1] == 10
    assert len(wrote_at_s) < 130
    assert all(second - first <= max(1, 0.1 * first + 0.5) for first, second in itertools.pairwise(wrote_at_s))


@pytest.mark.parametrize("options", [{"every_rows": "a"}, {"every_rows": 2.5}, {"every_s": None}, {"every_s": "1"}])
def test_what_would_never_write(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="never write a part"):
        Checkpoint("x", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [None, "", 3])
def test_no_path(path: object) -> None:
    with pytest.raises(OptionError, match=r"checkpoint=.*Give a path"):
        Checkpoint(path)  # type: ignore[arg-type]


def test_the_home_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened(pathlib.Path("~/runs")).path == tmp_path / "runs"
    with CacheFile("~/deep/x.cache") as cache:
        assert cache.path == str(tmp_path / "deep" / "x.cache")
