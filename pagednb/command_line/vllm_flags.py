"""Flags of ``vllm serve`` that this server has no use for: those that ask for nothing pass, the others are refused.

Engine flags are vLLM's engine options, which the engine's own table answers for. None of them is shown by ``--help``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from pagednb.vllm_options import CHOSEN_BY_THE_ENGINE, NOT_BUILT_YET, VllmOption, refuse_unbuilt_options

_TEMPLATE = "The model's own is used: write yours into its folder, as chat_template.jinja."
_PROXY = "Put a proxy such as nginx or caddy before it."
_SPOKEN = "No text of a request is ever logged."

_SERVER_FLAGS: Mapping[str, VllmOption] = {
    "--allowed-headers": VllmOption((None, ["*"]), "Pages of --allowed-origins may send any."),
    "--allowed-methods": VllmOption((None, ["*"]), "Pages of --allowed-origins may send GET and POST."),
    "--chat-template": VllmOption((None,), _TEMPLATE),
    "--chat-template-content-format": VllmOption((None, "auto", "string"), "Texts in parts are joined to one text."),
    "--config": VllmOption((None,), "Give the flags themselves."),
    "--log-config-file": VllmOption((None,), "Set up Python's logging where you start it."),
    "--middleware": VllmOption((None,), _PROXY),
    "--response-role": VllmOption((None, "assistant"), "Answers are the assistant's."),
    "--root-path": VllmOption((None,), _PROXY),
    "--ssl-ca-certs": VllmOption((None,), _PROXY),
    "--ssl-certfile": VllmOption((None,), _PROXY),
    "--ssl-keyfile": VllmOption((None,), _PROXY),
    "--uds": VllmOption((None,), "It listens on a port."),
}
_SERVER_SWITCHES: Mapping[str, VllmOption] = {
    "--allow-credentials": VllmOption((None, False), "Pages of --allowed-origins send a key as any client does."),
    "--enable-force-include-usage": VllmOption((None, False), "Clients ask for it: stream_options.include_usage."),
    "--enable-log-outputs": VllmOption((None, False), _SPOKEN),
    "--enable-request-id-headers": VllmOption((None, False), "Answers have an id in their bodies."),
    "--enable-ssl-refresh": VllmOption((None, False), _PROXY),
    "--return-tokens-as-token-ids": VllmOption((None, False), "Clients ask for ids: return_token_ids."),
}
# tools and thoughts are read from the model's files, there is one process, and nothing is logged
_NEEDLESS_SWITCHES = (
    "--disable-fastapi-docs",
    "--disable-frontend-multiprocessing",
    "--disable-uvicorn-access-log",
    "--enable-auto-tool-choice",
    "--enable-prompt-tokens-details",
    "--enable-server-load-tracking",
)
_NEEDLESS_FLAGS = ("--max-log-len", "--reasoning-parser", "--uvicorn-log-level")
_SHORT = {"tensor_parallel_size": "-tp", "pipeline_parallel_size": "-pp", "data_parallel_size": "-dp"}
_NUMBERS_AND_FACTORS = {"max_seq_len_to_capture", "num_scheduler_steps", "scheduler_delay_factor"}


def add_vllm_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags, unseen."""
    for name, option in NOT_BUILT_YET.items():
        is_switch = any(isinstance(value, bool) for value in option.passes)
        _add(parser, _flag(name), *filter(None, (_SHORT.get(name),)), dest=name, is_switch=is_switch)
    for name in CHOSEN_BY_THE_ENGINE:
        _add(parser, _flag(name), dest=name, is_switch=name not in _NUMBERS_AND_FACTORS)
    for flag in (*_SERVER_FLAGS, *_NEEDLESS_FLAGS):
        _add(parser, flag, dest=flag, is_switch=False)
    for flag in (*_SERVER_SWITCHES, *_NEEDLESS_SWITCHES):
        _add(parser, flag, dest=flag, is_switch=True)


def given_vllm_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the engine options that were given, for the engine to answer for.

    Raises:
        NotSupportedYetError: for the first flag of the server's that asks for something, with what to do instead.
    """
    given = {name: value for name, value in vars(args).items() if value is not None}
    refuse_unbuilt_options(given, {**_SERVER_FLAGS, **_SERVER_SWITCHES}, owner="Flag")
    return {name: given[name] for name in (*NOT_BUILT_YET, *sorted(CHOSEN_BY_THE_ENGINE)) if name in given}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _add(parser: argparse.ArgumentParser, *flags: str, dest: str, is_switch: bool) -> None:
    if is_switch:
        parser.add_argument(
            *flags, dest=dest, action=argparse.BooleanOptionalAction, default=None, help=argparse.SUPPRESS
        )
    else:
        parser.add_argument(*flags, dest=dest, type=_value, help=argparse.SUPPRESS)


def _value(text: str) -> Any:
    """Return a number, list or object that was written as JSON; anything else is a word."""
    try:
        return json.loads(text)
    except ValueError:
        return text
