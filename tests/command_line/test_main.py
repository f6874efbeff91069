"""The frame that all commands share: help that teaches, mistakes as sentences, exit statuses."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tomllib

import pytest

from pagednb.command_line import main as main_module
from pagednb.command_line.command import Command
from pagednb.command_line.main import COMMANDS, main
from pagednb.errors import ModelLoadError
from pagednb.version import VERSION

BROKEN_PIPE = """
import os
read, write = os.pipe(); os.close(read); os.dup2(write, 1)
from pagednb.command_line.main import main
raise SystemExit(main(['models']))
"""
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words:
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
    else:
        assert main(words) == 0
    shown = capsys.readouterr()
    assert not shown.err
    assert all(name in shown.out and command.summary in shown.out for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown and shown.count(f"  pagednb {name} ") >= 2
    assert max(map(len, shown.splitlines())) <= 120


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"pagednb {VERSION}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bnch"], "There is no command 'bnch'. Did you mean 'bench'?"),
        (["zzz"], f"There is: {', '.join(COMMANDS)}."),
        (["--wrong"], "Unrecognized arguments: --wrong."),
        (["bench", "--rwos", "3"], "Unrecognized arguments: --rwos. Did you mean --rows?"),
        (["bench", "-z"], "pagednb bench --help explains"),
        (["bench", "--row", "3"], "Unrecognized arguments"),
        (["bench", "embedded", "--rows", "few"], "--rows: invalid int value: 'few'"),
        (["bench", "embedded", "--dtype", "int4"], "invalid choice: 'int4'"),
    ],
)
def test_mistakes_are_sentences(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("pagednb: ") and sentence in shown.err
    assert len(shown.err.splitlines()) == 1 and not shown.out


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (ModelLoadError("No such model.", hint="Check the name."), 1, "No such model. Check the name."),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_how_a_command_ends_is_its_status(
    error: BaseException,
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(args: object) -> None:
        raise error

    command = Command(
        name="broken", summary="", description="", examples="", add_arguments=lambda parser: None, run=run
    )
    monkeypatch.setattr(main_module, "COMMANDS", {"broken": command})
    assert main(["broken"]) == status
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_a_reader_that_has_enough_and_a_full_disk_are_no_bugs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import os\n{BROKEN_PIPE}"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (1, "")
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "pagednb", "models"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("pagednb: ") and "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args: object) -> None:
        raise AssertionError

    command = Command(
        name="broken", summary="", description="", examples="", add_arguments=lambda parser: None, run=run
    )
    monkeypatch.setattr(main_module, "COMMANDS", {"broken": command})
    with pytest.raises(AssertionError):
        main(["broken"])


def test_the_installed_command_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"pagednb": f"{main.__module__}:{main.__name__}"}


def test_help_and_mistakes_load_no_torch() -> None:
    code = (
        "import sys; from pagednb.command_line.main import main\n"
        "status = main(['bench', 'embedded', 'nothing']); print(status, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["2", "False"]
