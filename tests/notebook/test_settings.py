"""%config PagedNB: what holds where a line says nothing, and which values are refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.scripted_engine import ScriptedEngine
from support.shell import RaisingShell, raising_shell
from traitlets.config import Config

from pagednb import runtime
from pagednb.sampling_params import SamplingParams


def test_settings_hold_where_the_line_says_nothing(shell: RaisingShell, engine: ScriptedEngine) -> None:
    engine.resolved.generation_config.update(temperature=0.6, top_k=20)
    for setting in ("temperature=0.25", "max_tokens=9", "seed=4", "system='Be brief.'"):
        shell.run(f"%config PagedNB.{setting}")
    shell.run("%generate hi")
    shell.run("%generate -t 1 --max-tokens none -s 'Be long.' hi")
    assert engine.asked == [
        ("<system>Be brief.<user>hi<assistant>", SamplingParams(temperature=0.25, top_k=20, max_tokens=9, seed=4)),
        ("<system>Be long.<user>hi<assistant>", SamplingParams(temperature=1.0, top_k=20, max_tokens=None, seed=4)),
    ]


def test_format_and_thinking_are_settings(shell: RaisingShell, engine: ScriptedEngine) -> None:
    engine.template = "{% if enable_thinking %}think{% endif %}"
    shell.run("%config PagedNB.format='text'")
    shell.run("%config PagedNB.thinking='off'")
    shell.run("%%generate\nhi")
    assert set(shell.outputs[-1].data) == {"text/plain"}
    assert engine.template_kwargs == [{"enable_thinking": False}]


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("%llm load", {"model": "some/model"}),
        ("%llm load other/model --seed 3", {"model": "other/model", "seed": 3}),
        ("%llm load pagednb/embedded", {"model": "pagednb/embedded"}),
    ],
)
def test_the_model_to_load(
    shell: RaisingShell, monkeypatch: pytest.MonkeyPatch, line: str, asked: dict[str, Any]
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(runtime, "load", lambda **options: calls.append(options))
    shell.run("%config PagedNB.model='some/model'")
    shell.run(line)
    assert calls == [asked]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("temperature=-1", "temperature=-1.0 is not valid"),
        ("top_p=2", "top_p=2.0 is not valid"),
        ("format='markdwn'", "markdwn"),
        ("max_tokens='many'", "max_tokens"),
    ],
)
def test_a_wrong_value_is_refused_and_the_old_one_stays(
    shell: RaisingShell,
    engine: ScriptedEngine,
    caplog: pytest.LogCaptureFixture,
    setting: str,
    sentence: str,
) -> None:
    shell.run(f"%config PagedNB.{setting}")
    assert sentence in caplog.text, "%config logs what is wrong"
    shell.run("%generate hi")
    assert engine.asked[0][1] == SamplingParams(temperature=0.0, max_tokens=256)


def test_config_shows_them_and_forgets_them(shell: RaisingShell) -> None:
    shell.run("%config PagedNB")
    assert "PagedNB.temperature=<Float>" in shell.stdout
    shell.run("%unload_ext pagednb")
    shell.run("%config")
    assert "PagedNB" not in shell.stdout
    shell.run("%load_ext pagednb")


def test_a_configuration_file_sets_them() -> None:
    with raising_shell() as shell:
        shell.shell.update_config(Config(PagedNB={"temperature": 0.75}))
        shell.run("%load_ext pagednb")
        assert shell.run("%config PagedNB.temperature") == 0.75
        shell.run("%unload_ext pagednb")
