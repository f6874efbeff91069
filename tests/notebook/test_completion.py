"""The Tab key in a real shell: what is offered where, and that nothing of it stays after %unload_ext."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, TypedDict

import pytest
from huggingface_hub import constants
from IPython.core.completer import context_matcher, provisionalcompleter
from support.scripted_engine import ScriptedEngine
from support.shell import RaisingShell, raising_shell

from pagednb.notebook.completion import is_schema
from pagednb.notebook.generate_flags import FLAGS
from pagednb.notebook.load_flags import load_flags


def completions(shell: RaisingShell, text: str) -> list[str]:
    """What Tab offers at the end of ``text``, as a kernel asks for it: words that replace the one being typed."""
    with provisionalcompleter():
        return [completion.text for completion in shell.shell.Completer.completions(text, len(text))]


@pytest.mark.parametrize("magic", ["%generate", "%%generate"])
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("--max-t", ["--max-tokens"]),
        ("-t 0.5 --freq", ["--frequency-penalty"]),
        ("--raw --see", ["--seed"]),
        ("-f ma", ["markdown"]),
        ("--format=", ["markdown", "text", "json", "code", "html"]),
        ("--thinking ", ["on", "off", "auto"]),
        ("--schema Ti", ["Ticket"]),
        ("--schema ", ["Ticket", "as_dict"]),
        ("--grammar ", ["rules"]),
        ("-o ans", ["answer"]),
        ("--chat ", ["Ada", "Bob"]),
    ],
)
def test_generate(shell: RaisingShell, engine: ScriptedEngine, magic: str, typed: str, offered: list[str]) -> None:
    shell.run("%generate --chat Bob hi\n%generate --chat Ada hi")
    shell.names.update(Ticket=Ticket, as_dict={"type": "integer"}, rules="start: 'a'", answer=5)
    assert completions(shell, f"{magic} {typed}") == offered


@dataclasses.dataclass
class Ticket:
    team: str


def test_every_flag_is_offered(shell: RaisingShell) -> None:
    assert completions(shell, "%%generate --") == [name for name in FLAGS if name.startswith("--")]
    assert completions(shell, "%llm load --") == load_flags()


def test_a_value_that_nobody_knows_is_left_alone(shell: RaisingShell) -> None:
    assert not set(FLAGS) & set(completions(shell, "%%generate --max-tokens -"))


def test_llm(shell: RaisingShell, engine: ScriptedEngine, hub_cache: pathlib.Path) -> None:
    shell.run("%generate --chat Ada hi")
    assert completions(shell, "%llm un") == ["unload"]
    assert completions(shell, "%llm ")[:2] == ["load", "status"]
    assert completions(shell, "%llm sleep ") == ["1", "2"]
    assert completions(shell, "%llm load Qwen/") == ["Qwen/Qwen3-0.6B"]
    assert completions(shell, "%llm load p") == ["pagednb/embedded"]
    assert completions(shell, "%llm load --gpu") == ["--gpu-memory-utilization"]
    assert completions(shell, "%llm load --load-format s") == ["safetensors"]
    assert completions(shell, "%llm history ") == completions(shell, "%llm reset A") == ["Ada"]


@pytest.fixture
def hub_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("value", "expected"),
    [(Ticket, True), (TypedDict("T", {"a": int}), True), ({}, True), (Ticket("x"), False), (5, False), (int, False)],
)
def test_schemas_are_known_by_their_look(value: Any, *, expected: bool) -> None:
    assert is_schema(value) is expected


def test_a_conversation_with_a_space_in_its_name_is_offered_in_quotes(
    shell: RaisingShell, engine: ScriptedEngine
) -> None:
    shell.run("%generate --chat 'the poet' hi")
    assert completions(shell, "%generate --chat ") == completions(shell, "%llm history ") == ['"the poet"']


def test_a_line_inside_a_cell_and_behind_an_assignment(shell: RaisingShell) -> None:
    assert completions(shell, "import os\nfirst = 1\nanswer = %generate --freq") == ["--frequency-penalty"]
    assert completions(shell, "  table = %llm stat") == ["status"]


@pytest.mark.parametrize("text", ["first.up", "pri", "%%time\nsor", "x = 5 % len"])
def test_other_lines_are_left_to_others(shell: RaisingShell, text: str) -> None:
    shell.names["first"] = "a"
    offered = completions(shell, text)
    shell.run("%unload_ext pagednb")
    assert offered == completions(shell, text) != []
    shell.run("%load_ext pagednb")


def test_nothing_stays_and_matchers_of_others_do() -> None:
    with raising_shell() as shell:
        matchers = shell.shell.Completer.custom_matchers
        theirs = context_matcher(identifier="theirs")(lambda context: {"completions": []})
        matchers.append(theirs)
        shell.run("%load_ext pagednb")
        shell.run("%reload_ext pagednb")
        assert len(matchers) == 2
        shell.run("%unload_ext pagednb")
        assert matchers == [theirs]
