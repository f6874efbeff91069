"""What an open monitor costs: ``python tests/perf/bench_monitor.py`` (a real notebook kernel, one GPU, random weights).

Cells of one kernel generate the same rows in turns, with nobody watching and with a page that shows ``pnb.monitor()``,
whose messages are read as a browser would. Prints tokens per second of every turn, the medians, and what was sent.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from support.kernel import Message, RealKernel, real_kernel

from pagednb.benchmark.shapes import SHAPES, model_folder

SET_UP = """
import time
import pagednb as pnb
options = dict(skip_tokenizer_init=True, load_format="dummy", device={device!r})
llm = pnb.load({folder!r}, max_model_len={prompt} + {output}, **options)
params = pnb.SamplingParams(temperature=0, max_tokens={output}, ignore_eos=True, detokenize=False)
rows = [[(7 * row + place) % 1000 + 5 for place in range({prompt})] for row in range({rows})]
def turn():
    begin_s = time.perf_counter()
    llm.generate([{{"prompt_token_ids": row}} for row in rows], params, use_tqdm=False)
    return {rows} * {output} / (time.perf_counter() - begin_s)
monitor = pnb.monitor()
turn()
"""
WATCH = {"method": "custom", "content": {"type": "watch", "view": "page"}}
LEAVE = {"method": "custom", "content": {"type": "leave", "view": "page"}}


def num_bytes(messages: list[Message]) -> int:
    """Count what the widgets sent."""
    return sum(len(json.dumps(message["content"])) for message in messages if message["msg_type"] == "comm_msg")


def turn(kernel: RealKernel, *, watched: bool) -> dict[str, Any]:
    """Run one cell; a page that watches says so again before each."""
    kernel.press("monitor.view", WATCH if watched else LEAVE)
    ran = kernel.run("print(turn())")
    frames = [message for message in ran.published if message["msg_type"] == "comm_msg"]
    return {
        "watched": watched,
        "tokens_per_s": float(ran.stdout),
        "frames": len(frames),
        "bytes": num_bytes(ran.published),
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SHAPES), default="qwen3-0.6b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--output", type=int, default=256)
    parser.add_argument("--turns", type=int, default=6, help="of each kind")
    args = parser.parse_args()
    folder = str(model_folder(args.model, pathlib.Path(tempfile.mkdtemp())))
    sizes = {"rows": args.rows, "prompt": args.prompt, "output": args.output}
    with real_kernel() as kernel:
        kernel.run(SET_UP.format(folder=folder, device=args.device, **sizes))
        turns = [turn(kernel, watched=watched) for _ in range(args.turns) for watched in (False, True)]
    for each in turns:
        print(each)
    rates = {kind: [each["tokens_per_s"] for each in turns if each["watched"] is kind] for kind in (False, True)}
    alone, watched = (statistics.median(rates[kind]) for kind in (False, True))
    spread = (max(rates[False]) - min(rates[False])) / alone
    print(f"{args.model}: {alone:.0f} tokens/s alone, {watched:.0f} watched: {1 - watched / alone:.2%} less")
    print(f"turns alone differ by {spread:.2%}; {json.dumps(sizes)}")


if __name__ == "__main__":
    main()
