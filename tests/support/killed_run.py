"""A checkpointed run over tickets that is killed again and again; run as a script, prints one JSON line.

Children are forked from a process that has imported everything and runs no thread, so a new start takes 0.2 s instead
of seconds. A shared counter holds the tokens that all children have had the model compute, those of killed ones too.
"""

from __future__ import annotations

import json
import mmap
import os
import pathlib
import random
import signal
import struct
import sys
import time
from collections.abc import Callable

import pandas as pd
import pyarrow.parquet
import torch
import transformers  # noqa: F401  before the fork

import pagednb
from pagednb.runner.model_runner import ModelRunner

OPTIONS = {"temperature": 0, "max_tokens": 8, "progress": False, "cache": False}
LABELS = ["delivery", "damage", "billing", "praise"]


def frame(num_rows: int) -> pd.DataFrame:
    words = ("late", "broken", "lost", "paid twice", "great")
    return pd.DataFrame({"text": [f"order {row}: it was {words[row % 5]}" for row in range(num_rows)]})


def label(counter: mmap.mmap, folder: pathlib.Path, num_rows: int, out: pathlib.Path, max_num_seqs: int) -> None:
    """Run the cell to its end and write its labels."""
    execute = ModelRunner.execute

    def counting(self: ModelRunner, plan: object) -> object:
        (num_tokens,) = struct.unpack("<q", counter[:8])
        counter[:8] = struct.pack("<q", num_tokens + plan.num_tokens)  # type: ignore[attr-defined]
        return execute(self, plan)  # type: ignore[arg-type]

    ModelRunner.execute = counting  # type: ignore[method-assign, assignment]
    pagednb.load(device="cpu", max_num_seqs=max_num_seqs)
    checkpoint = pagednb.Checkpoint(folder, every_rows=2 * max_num_seqs)
    result = frame(num_rows).llm.generate("{text}", checkpoint=checkpoint, **OPTIONS)
    out.write_text(json.dumps(result["generated"].tolist()))


def start(counter: mmap.mmap, folder: pathlib.Path, num_rows: int, out: pathlib.Path, max_num_seqs: int = 2) -> int:
    return forked(out, lambda: label(counter, folder, num_rows, out, max_num_seqs))


def forked(out: pathlib.Path, work: Callable[[], None]) -> int:
    """Return the id of a child that does the work and ends; an error is left in ``out``."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  the process ends here
            out.write_text(json.dumps(repr(error)))
        finally:
            os._exit(0)
    return child


def kill(child: int, out: pathlib.Path) -> bool:
    """Kill a child; return whether that cut its work short. Raises what it left if an error did."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if out.exists() and isinstance(left := json.loads(out.read_text()), str):
        raise RuntimeError(left)
    return not out.exists()


def tokens(counter: mmap.mmap) -> int:
    return int(struct.unpack("<q", counter[:8])[0])


def killed_run(folder: pathlib.Path, num_rows: int, num_kills: int, seed: int) -> dict[str, object]:
    """Run undisturbed, then killed ``num_kills`` times at random points of the work, then to the end."""
    torch.set_num_threads(1)
    undisturbed = mmap.mmap(-1, 8)
    os.waitpid(start(undisturbed, folder / "whole", num_rows, folder / "whole.json", max_num_seqs=32), 0)
    total = tokens(undisturbed)
    randomness = random.Random(seed)
    points = sorted(randomness.randrange(1, total) for _ in range(num_kills))
    counter = mmap.mmap(-1, 8)
    num_killed = 0
    for point in points:
        out = folder / "killed.json"
        child = start(counter, folder / "killed", num_rows, out)
        while tokens(counter) < point and not out.exists():
            time.sleep(0.0005)
        time.sleep(randomness.random() * 0.01)  # not always at the same place of a step
        num_killed += kill(child, out)
    os.waitpid(start(counter, folder / "killed", num_rows, folder / "killed.json"), 0)
    labels = [json.loads((folder / name).read_text()) for name in ("whole.json", "killed.json")]
    return {
        "num_killed": num_killed,
        "tokens": total,
        "tokens_with_kills": tokens(counter),
        "num_labels": len(labels[0]),
        "num_distinct": len(set(labels[0])),
        "are_equal": labels[0] == labels[1],
    }


def classify(folder: pathlib.Path, num_rows: int, out: pathlib.Path, max_num_seqs: int = 32) -> None:
    """Run a cell as everybody writes it, with a checkpoint's default settings."""
    pagednb.load(device="cpu", max_num_seqs=max_num_seqs)
    checkpoint = str(folder)
    result = frame(num_rows).llm.classify("text", labels=LABELS, checkpoint=checkpoint, progress=False, cache=False)
    out.write_text(json.dumps({"labels": result["label"].tolist(), "resumed": pagednb.last_run().figures.resumed}))


def parts(folder: pathlib.Path) -> list[pathlib.Path]:
    return list(folder.glob("part-*.parquet"))


def killed_defaults(folder: pathlib.Path, num_rows: int, num_kills: int) -> dict[str, object]:
    """Classify undisturbed, then killed each time a new part is there, then to the end."""
    torch.set_num_threads(1)
    out, whole = folder / "killed.json", folder / "whole.json"
    os.waitpid(forked(whole, lambda: classify(folder / "whole", num_rows, whole)), 0)
    num_killed = 0
    for _ in range(num_kills):
        num_parts = len(parts(folder / "killed"))
        child = forked(out, lambda: classify(folder / "killed", num_rows, out, max_num_seqs=2))
        while len(parts(folder / "killed")) == num_parts and not out.exists():
            time.sleep(0.01)
        num_killed += kill(child, out)
    num_stored = sum(pyarrow.parquet.read_metadata(part).num_rows for part in parts(folder / "killed"))
    os.waitpid(forked(out, lambda: classify(folder / "killed", num_rows, out)), 0)
    undisturbed, killed = json.loads(whole.read_text()), json.loads(out.read_text())
    return {
        "num_killed": num_killed,
        "num_stored": num_stored,
        "resumed": killed["resumed"],
        "are_equal": undisturbed["labels"] == killed["labels"],
        "num_distinct": len(set(killed["labels"])),
    }


if __name__ == "__main__":
    run = {"work": killed_run, "defaults": killed_defaults}[sys.argv[1]]
    print(json.dumps(run(pathlib.Path(sys.argv[2]), *map(int, sys.argv[3:]))))
