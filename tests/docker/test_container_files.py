"""The container files as far as a machine without Docker can check them."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shlex
import tomllib
from typing import Any

import pytest
import yaml

from pagednb import envs
from pagednb.command_line.main import COMMANDS
from pagednb.command_line.parser import CommandParser

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "docker/Dockerfile"
COMPOSE = ROOT / "docker/compose.yaml"
KNOWN = {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text()))
    found = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(word, rest) for word, _, rest in found]


def arguments(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def parsed(words: list[str]) -> argparse.Namespace:
    command = COMMANDS[words[0]]
    parser = CommandParser(prog=words[0])
    command.add_arguments(parser)
    return parser.parse_intermixed_args(words[1:])


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return content


def test_the_base_is_a_pinned_cuda_runtime() -> None:
    assert {word for word, _ in instructions()} <= KNOWN
    (base,) = arguments("FROM")
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-runtime-ubuntu\d\d\.04", base)


def test_the_last_user_is_not_root_and_nothing_is_built_after() -> None:
    words = [word for word, _ in instructions()]
    (user,) = arguments("USER")
    assert user not in ("root", "0")
    assert any(f"useradd --create-home --uid 10001 {user}" in rest for rest in arguments("RUN"))
    assert not {"RUN", "COPY"} & set(words[words.index("USER") :])


def test_what_is_copied_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for rest in arguments("COPY"):
        for name in shlex.split(rest)[:-1]:
            assert (ROOT / name).exists() and f"!{name}" in ignored
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"].values()
    assert set(folders) <= {rest.split()[0] for rest in arguments("COPY")}


def test_extras_and_commands_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r'"\.\[(.*?)\]"', "\n".join(arguments("RUN")))
    assert set(asked.split(",")) <= set(extras)
    (entrypoint,), (command,) = arguments("ENTRYPOINT"), arguments("CMD")
    assert json.loads(entrypoint) == ["pagednb"]
    args = parsed(json.loads(command))
    assert (args.host, args.port, args.model) == ("0.0.0.0", int(arguments("EXPOSE")[0]), None)
    ((probe, path),) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", "".join(arguments("HEALTHCHECK")))
    assert (int(probe), path) == (args.port, "/health")


def test_the_example_parses_and_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (service,) = compose()["services"].values()
    assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKERFILE
    args = parsed(service["command"])
    assert all(port.startswith("127.0.0.1:") and port.endswith(f":{args.port}") for port in service["ports"])
    assert not {"privileged", "network_mode", "user"} & service.keys() and service["cap_drop"] == ["ALL"]
    (volume,) = service["volumes"]
    assert volume.split(":")[0] in compose()["volumes"] and volume.endswith(f":{arguments('WORKDIR')[-1]}")
    ((name, _),) = service["environment"].items()
    monkeypatch.setenv(name, "from compose")
    assert envs.api_key() == "from compose"


def test_no_secrets_and_no_moving_targets() -> None:
    for path in (DOCKERFILE, COMPOSE):
        text = path.read_text()
        assert not re.search(r"(?i)(token|password|secret|hf_[a-z0-9]{10})", text), path
        assert ":latest" not in text and "curl" not in text and "ADD " not in text
    (value,) = compose()["services"]["pagednb"]["environment"].values()
    assert re.fullmatch(r"\$\{PAGEDNB_API_KEY:\?.*\}", value), "no key is written down, and none is no choice"
