"""Times the server: ``python tests/perf/bench_http.py --model llama-3.1-8b`` sends ``chatlike`` over HTTP, all at once.

Prompts are token ids, weights are random; the client is a process of its own (``http_client.py``). Before that the
same requests run offline, unless ``--no-offline`` is given: the difference is what HTTP costs. ``--stream`` asks for
streams. First of all a server of its own is started and ended, for the seconds from the start of its process to
``/health`` 200 (not with ``--no-start``). ``--device null`` has no model at all, which shows what the host does (a
step takes ``--step-ms``); ``--model tiny --device cpu`` tries everything.

Host seconds are CPU time of the event loop's thread, of the engine's thread, of all threads of the server's process.
``--profile N`` adds the N functions that the event loop's thread was seen in most often.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
import text_workload
from null_engine import NullExecutor, null_engine
from server_start import time_start
from thread_sampler import ThreadSampler

from pagednb.benchmark.workloads import TimedRequest, make_workload
from pagednb.config import EngineConfig
from pagednb.engine.llm_engine import LLMEngine
from pagednb.llm import LLM
from pagednb.sampling_params import SamplingParams
from pagednb.server.listener import bind_listener
from pagednb.server.server import Server
from pagednb.server.settings import ServerSettings

CLIENT = pathlib.Path(__file__).with_name("http_client.py")


def run_offline(engine: LLMEngine, requests: list[TimedRequest]) -> float:
    """Return the seconds that the requests take without HTTP."""
    engine.reset_prefix_cache()
    params = [
        SamplingParams(temperature=1.0, ignore_eos=True, max_tokens=request.num_new_tokens) for request in requests
    ]
    begin_s = time.perf_counter()
    engine.generate([request.prompt_token_ids for request in requests], params)
    return time.perf_counter() - begin_s


def run_served(server: Server, requests: list[TimedRequest], *, stream: bool) -> dict[str, Any]:
    """Return what the client saw."""
    host, port = server.url.removeprefix("http://").split(":")
    bodies = [
        {
            "prompt": request.prompt_token_ids,
            "max_tokens": request.num_new_tokens,
            "temperature": 1.0,
            "ignore_eos": True,
            "stream": stream,
        }
        for request in requests
    ]
    job = {"host": host, "port": int(port), "path": "/v1/completions", "bodies": bodies}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        done = subprocess.run([sys.executable, str(CLIENT), str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def clocks(engine: LLMEngine) -> tuple[float, float, float]:
    """Return CPU seconds so far: of the server's thread, the engine's, the process."""
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "pagednb-server"]
    server_s = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return server_s, engine._loop.call(lambda service: time.thread_time()), time.process_time()


def time_served(
    engine: LLMEngine, server: Server, requests: list[TimedRequest], args: argparse.Namespace
) -> dict[str, Any]:
    """Run the requests through HTTP, print what they took and return it."""
    engine.reset_prefix_cache()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "pagednb-server"]
    before = clocks(engine)
    with ThreadSampler({"server": thread.ident}) if args.profile else contextlib.nullcontext() as sampler:
        seen = run_served(server, requests, stream=args.stream)
    spent = [end - begin for begin, end in zip(before, clocks(engine), strict=True)]
    answers = seen["answers"]
    assert all(answer["status"] == 200 for answer in answers), {answer["status"] for answer in answers}
    num_out = sum(request.num_new_tokens for request in requests)
    first_ms = [1e3 * answer["first_s"] for answer in answers]
    line = {
        "job": "http",
        "model": args.model,
        "device": args.device,
        "requests": len(requests),
        "stream": args.stream,
        "seconds": round(seen["seconds"], 3),
        "out_tokens_per_s": round(num_out / seen["seconds"]),
        "requests_per_s": round(len(requests) / seen["seconds"], 1),
        "first_byte_p50_ms": round(float(np.percentile(first_ms, 50)), 1),
        "first_byte_p99_ms": round(float(np.percentile(first_ms, 99)), 1),
        "events": sum(answer["events"] for answer in answers),
        "server_cpu_s": round(spent[0], 3),
        "engine_cpu_s": round(spent[1], 3),
        "all_threads_cpu_s": round(spent[2], 3),
        "client_cpu_s": round(seen["client_cpu_s"], 3),
    }
    print(json.dumps(line), flush=True)
    if sampler is not None:
        print(sampler.table(args.profile))
    return line


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print what matters of each seed: seconds beside those offline, and what HTTP costs the host."""
    print(f"{'seed':>6}{'offline s':>11}{'http s':>9}{'host ms/request':>17}{'host us/event':>15}{'p50 first ms':>14}")
    for row in rows:
        per_event = f"{1e6 * row['server_cpu_s'] / row['events']:.0f}" if row["events"] else "-"
        offline = "-" if row["offline_s"] is None else f"{row['offline_s']:.2f}"
        per_request = f"{1e3 * row['server_cpu_s'] / row['requests']:.2f}"
        print(
            f"{row['seed']:>6}{offline:>11}{row['seconds']:>9.2f}{per_request:>17}{per_event:>15}"
            f"{row['first_byte_p50_ms']:>14.0f}"
        )


def load_engine(args: argparse.Namespace) -> LLMEngine:
    """Load the model with random weights, or a stand-in without a model."""
    model = str(text_workload.prepare_model(args.model, args.folder))
    if args.device == "null":
        _slow_down(args.step_ms)
        return null_engine(EngineConfig(model=model, load_format="dummy", device="cpu"))
    return LLM(model, load_format="dummy", device=args.device).engine


def _slow_down(step_ms: float) -> None:
    """Let each step of an engine without a model take a while, as on a device."""
    execute = NullExecutor.execute

    def execute_slowly(self: NullExecutor, plan: Any) -> Any:
        time.sleep(1e-3 * step_ms * plan.num_decode_steps)
        return execute(self, plan)

    if step_ms:
        NullExecutor.execute = execute_slowly


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=text_workload.MODELS, default="qwen3-0.6b")
    parser.add_argument("--device", default="auto", help="auto, cuda, cpu or null")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--step-ms", type=float, default=0.0, help="of an engine without a model")
    parser.add_argument("--no-offline", action="store_true")
    parser.add_argument("--no-start", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--profile", type=int, default=0, metavar="N")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "pagednb-bench")
    args = parser.parse_args()
    os.environ.setdefault("PAGEDNB_PROGRESS", "0")
    if not args.no_start and args.device != "null":
        start = time_start(str(text_workload.prepare_model(args.model, args.folder)), device=args.device)
        line = {name: round(seconds, 2) for name, seconds in start._asdict().items()}
        print(json.dumps({"job": "start", "model": args.model, **line}), flush=True)
    begin_s = time.perf_counter()
    engine = load_engine(args)
    server = Server(engine, bind_listener("127.0.0.1", 0), ServerSettings(served_model_names=("bench",)))
    print(f"ready after {time.perf_counter() - begin_s:.1f} s", flush=True)
    vocab_size = engine.resolved.spec.vocab_size
    run_served(server, make_workload("chatlike", 0, vocab_size=vocab_size)[:32], stream=args.stream)
    rows = []
    for seed in args.seeds:
        offline_s = None
        requests = make_workload("chatlike", seed, vocab_size=vocab_size)[: args.requests]
        if not args.no_offline:
            offline_s = run_offline(engine, requests)
            print(json.dumps({"job": "offline", "model": args.model, "seed": seed, "seconds": round(offline_s, 3)}))
        rows.append({"seed": seed, "offline_s": offline_s, **time_served(engine, server, requests, args)})
    print_table(rows)
    server.stop()
    engine.shutdown()


if __name__ == "__main__":
    main()
