"""``python tests/perf/bench_engine.py --model qwen3-0.6b chatlike`` is ``pagednb bench qwen3-0.6b chatlike``."""

from __future__ import annotations

import argparse

from pagednb.benchmark.shapes import SHAPES
from pagednb.command_line.main import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other options are those of pagednb bench.")
    parser.add_argument("--model", choices=sorted(SHAPES), default="llama-3.1-8b")
    args, rest = parser.parse_known_args()
    raise SystemExit(main(["bench", args.model, *rest]))
