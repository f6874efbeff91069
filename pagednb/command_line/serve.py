"""``pagednb serve``: load a model and answer OpenAI's clients; ``python -m pagednb.server`` is the same."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from pagednb import envs
from pagednb.command_line.command import Command
from pagednb.command_line.engine_options import add_engine_options, given_engine_options
from pagednb.command_line.vllm_flags import add_vllm_flags, given_vllm_options
from pagednb.config import EMBEDDED_MODEL
from pagednb.errors import OptionError

DEFAULT_PORT = 8000

_DESCRIPTION = """\
Load a model and serve it over HTTP, to OpenAI's clients and all that speak to vLLM: /v1/chat/completions,
/v1/completions, /v1/embeddings, /v1/models, /score, /tokenize, /detokenize, /generate, /health, /version and
/metrics.

Only this machine can reach it unless --host says otherwise. No text of a request is ever logged."""

_EXAMPLES = """\
examples:
  pagednb serve                                           the model inside the package, on port 8000
  pagednb serve Qwen/Qwen3-0.6B --port 8080 --max-model-len 8192
  PAGEDNB_API_KEY=... pagednb serve ~/models/my-model --host 0.0.0.0 --served-model-name my-model

try it:
  curl localhost:8000/v1/completions -H 'Content-Type: application/json' -d '{"prompt": "Hello"}'

Ctrl-C stops it and tells the clients that wait. In a notebook: pnb.serve().
Exit status: 0 stopped, 1 failed, 2 wrong options."""

# vLLM's flags -> options of the engine, which says itself what it has not
_ENGINE_FLAGS: dict[str, dict[str, Any]] = {
    "tokenizer": {"help": "folder or hub id of the tokenizer, if it is not the model's"},
    "revision": {"help": "branch, tag or commit on the hub"},
    "download_dir": {"help": "where hub files are kept"},
    "load_format": {"help": "auto, safetensors, pt or dummy (random weights)"},
    "seed": {"type": int, "help": "where requests without a seed get theirs from"},
    "block_size": {"type": int, "help": "tokens of one KV block"},
    "num_gpu_blocks_override": {"type": int, "help": "KV blocks, instead of as many as the memory holds"},
    "enable_prefix_caching": {"action": argparse.BooleanOptionalAction, "help": "compute common beginnings once"},
    "swap_space": {"type": float, "metavar": "GIB", "help": "host memory for the KV blocks of preempted requests"},
    "preemption_mode": {"help": "swap or recompute; left out: whichever is cheaper"},
    "cpu_offload_gb": {
        "type": float,
        "metavar": "GIB",
        "help": "GPU memory to save by streaming decoder layers from host memory: slow, but the model fits",
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a hub id or a folder (default: the model inside)")
    parser.add_argument("--model", dest="model_flag", metavar="MODEL", help="the same, as vLLM's older servers take it")
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (default: 127.0.0.1)")
    group.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"0: any that is free (default: {DEFAULT_PORT})")
    group.add_argument("--api-key", metavar="KEY", help="what clients must send; or set PAGEDNB_API_KEY, unseen by ps")
    group.add_argument("--served-model-name", nargs="+", metavar="NAME", help="what clients may call the model")
    group.add_argument(
        "--allowed-origins", metavar="JSON", help="web pages that may call: '[\"http://localhost:3000\"]'"
    )
    group.add_argument("--max-sequences", type=int, metavar="N", help="under way at most; more get status 429 (8192)")
    group.add_argument("--max-n", type=int, metavar="N", help="answers to one prompt at most (128)")
    group.add_argument("--tool-call-parser", metavar="FORMAT", help="hermes, llama3_json or mistral; else by template")
    add_engine_options(parser)
    more = parser.add_argument_group("more of the engine", "vLLM's other flags; what is not built yet says so")
    for name, settings in _ENGINE_FLAGS.items():
        more.add_argument(f"--{name.replace('_', '-')}", default=None, **settings)
    add_vllm_flags(parser)


def run(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C.

    Raises:
        PagednbError: wrong options, a port that is taken, or a model that cannot be loaded.
    """
    from pagednb.server.serve import make_settings, require_libraries

    begin_s = time.perf_counter()
    require_libraries()
    if args.model is not None and args.model_flag is not None:
        raise OptionError("The model was named twice.", hint="Leave --model out.")
    named = args.model or args.model_flag or EMBEDDED_MODEL
    settings = make_settings(named, args.served_model_name, **_server_options(args))
    engine_options = _engine_options(args)
    from pagednb.llm import LLM
    from pagednb.server.listener import BACKLOG, bind_listener, is_loopback, url_of
    from pagednb.server.web_server import WebServer

    with bind_listener(args.host, args.port) as listener, LLM(named, **engine_options) as llm:
        server = WebServer(llm.engine, settings)
        listener.listen(BACKLOG)  # whoever reads the next line may connect
        seconds = time.perf_counter() - begin_s
        if settings.api_key is None and not is_loopback(listener):
            print("Whoever reaches this machine can use the server: it has no --api-key.", file=sys.stderr, flush=True)
        print(f"Serving {settings.served_model_names[0]} at {url_of(listener)} after {seconds:.1f} s", flush=True)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn passes it on when all is told and closed
            print("Stopped.", flush=True)


def _server_options(args: argparse.Namespace) -> dict[str, Any]:
    options = {
        "api_key": args.api_key if args.api_key is not None else envs.api_key(),
        "allowed_origins": _origins(args.allowed_origins),
        "max_sequences": args.max_sequences,
        "max_n": args.max_n,
        "tool_format": args.tool_call_parser,
    }
    return {name: value for name, value in options.items() if value is not None}


def _engine_options(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name) for name in _ENGINE_FLAGS}
    own = {name: value for name, value in given.items() if value is not None}
    return given_engine_options(args) | own | given_vllm_options(args)


def _origins(text: str | None) -> list[str] | None:
    if text is None:
        return None
    try:
        origins = json.loads(text)
    except ValueError:
        origins = None
    if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
        raise OptionError("--allowed-origins takes a JSON list.", hint="""Such as '["http://localhost:3000"]'.""")
    return origins


SERVE = Command(
    name="serve",
    summary="answer OpenAI's clients over HTTP, with the routes and flags of vLLM",
    description=_DESCRIPTION,
    examples=_EXAMPLES,
    add_arguments=add_arguments,
    run=run,
)
