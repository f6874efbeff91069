"""Time to the first value and memory of a verb over a million short rows: ``python tests/perf/bench_many_rows.py``.

There is no model: ``null_engine.py`` answers at once, so that what is measured is what the host does. Options are the
verb's defaults, the result cache among them. Memory is what the process grew by at its peak, the result included; the
frame is there before. A row is a number and six words, and no two are alike.

Prints a line of text and one of JSON for each verb. Of a million rows it takes minutes: all is done by two threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import random
import tempfile
import time
from typing import Any

import pandas as pd
import text_workload
from bench_dataframe import Meter, load_engine

import pagednb
from pagednb.dataframe.results.figures import RunFigures

VERBS: dict[str, dict[str, Any]] = {
    "classify": {"labels": list(text_workload.LABELS)},
    "generate": {"max_tokens": 4, "temperature": 0},
}


class FirstRow:
    """The ``progress=`` of a run: notes when the first row had its value."""

    def __init__(self) -> None:
        self._start_s = time.perf_counter()
        self.seconds: float | None = None

    def __call__(self, figures: RunFigures) -> None:
        if self.seconds is None and figures.rows_done:
            self.seconds = time.perf_counter() - self._start_s


def short_rows(num_rows: int, folder: pathlib.Path) -> pd.DataFrame:
    """Return distinct texts of about forty characters in the column ``text``."""
    rng = random.Random(0)
    words = " ".join(text_workload.docstrings(folder)[:300]).split()
    return pd.DataFrame({"text": [f"{row} {' '.join(rng.choices(words, k=6))}" for row in range(num_rows)]})


def measure(verb: str, args: argparse.Namespace, meter: Meter, frame: pd.DataFrame) -> None:
    """Run one verb over the frame and print what it took."""
    run = getattr(pagednb.frame(frame), verb)
    first = FirstRow()
    with meter.measuring():
        result = run("Topic of: {text}", progress=first, **VERBS[verb])
    usage = meter.usage
    assert usage is not None and first.seconds is not None
    assert result.attrs["pagednb"]["rows"] == len(frame)
    frame_mib = frame.memory_usage(deep=True).sum() / 2**20
    result_mib = result.memory_usage(deep=True).sum() / 2**20 - frame_mib
    print(
        f"{verb}: {len(frame):,} rows, first value after {first.seconds:.2f} s, all after {usage.seconds:.1f} s; "
        f"{usage.grown_mib:,.0f} MiB above the frame's {frame_mib:,.0f}, {result_mib:,.0f} of them new columns"
    )
    line = {"job": f"many_rows_{verb}", "rows": len(frame), "first_value_s": first.seconds, "frame_mib": frame_mib}
    line |= {"new_columns_mib": result_mib, **dataclasses.asdict(usage)}
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in line.items()}))


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verbs", nargs="*", choices=[*VERBS, []], help="all if none is named")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model", choices=text_workload.MODELS, default="qwen3-0.6b", help="whose tokenizer")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "pagednb-bench")
    args = parser.parse_args()
    args.device = "null"
    os.environ["PAGEDNB_PROGRESS"] = "0"
    engine = load_engine(args)
    meter = Meter(engine)
    frame = short_rows(args.rows, args.folder)
    for verb in args.verbs or VERBS:
        getattr(pagednb.frame(frame[:64]), verb)("Topic of: {text}", cache=False, **VERBS[verb])  # warm up
        measure(verb, args, meter, frame)
    engine.shutdown()


if __name__ == "__main__":
    main()
