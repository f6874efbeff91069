"""Swap against recompute: ``python tests/perf/bench_preemption.py --model llama-3.1-8b`` runs long requests on a pool a
tenth of what they need.

Prompts differ from their first token on, so that nothing is shared. With ``--chats`` somebody watches one short answer
to a long prompt after another meanwhile, and each takes blocks from the rest: without, requests seldom lose theirs,
since nobody comes in before there is room. Of what preempted requests leave the prefix cache keeps what nobody takes:
``lost_share`` says how much was gone. Each mode has an engine of its own with the same random weights. What is
timed is a second round, with other prompts: in the first kernels are compiled and host memory is taken.

"ample" has blocks for all; "recompute" and "swap" do so at every preemption; "measured" decides by what it measured.
Prints a line of JSON for each mode, then a table. Answers may differ between modes where prompts and single tokens are
computed by different kernels. On a CPU host memory is the same memory: figures from there show that it works.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import random
import statistics
import tempfile
import threading
import time
from typing import Any, Self

from pagednb import LLM, SamplingParams
from pagednb.benchmark.shapes import SHAPES, model_folder
from pagednb.scheduler.stats import SchedulerStats

MODES = ("ample", "recompute", "swap", "measured")
BLOCK_SIZE = 16
# a model that a CPU runs thousands of tokens of in seconds
TINY = {
    **SHAPES["llama-3.1-8b"],
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 1024,
}


@dataclasses.dataclass(frozen=True)
class Round:
    """What one mode took."""

    mode: str
    seconds: float
    preemptions: int
    swaps: int
    tokens_recomputed: int
    blocks_out: int
    blocks_in: int
    move_gb_per_s: float
    compute_tokens_per_s: float
    lost_share: float
    num_chats: int
    first_token_s: float
    answers: list[tuple[int, ...]] = dataclasses.field(repr=False)


class Chats:
    """Watched requests, one after another, while the body of a ``with`` runs; the last one is waited for."""

    def __init__(self, llm: LLM, args: argparse.Namespace, vocab_size: int) -> None:
        self.first_token_s: list[float] = []
        self._llm, self._args, self._vocab_size = llm, args, vocab_size
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        if self._args.chats:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._args.chats:
            self._thread.join()

    def _run(self) -> None:
        choose = random.Random(0)
        params = SamplingParams(temperature=0, max_tokens=self._args.chat_output, ignore_eos=True, detokenize=False)
        while not self._is_over.wait(self._args.chat_gap):
            prompt = [choose.randrange(10, self._vocab_size) for _ in range(self._args.chat_prompt)]
            start_s = time.perf_counter()
            answer = self._llm.engine.stream({"prompt_token_ids": prompt}, params)
            next(answer)
            self.first_token_s.append(time.perf_counter() - start_s)
            for _ in answer:
                pass


def make_prompts(args: argparse.Namespace, seed: int, vocab_size: int) -> list[list[int]]:
    """Return prompts of ``args.prompt`` tokens, a quarter more or less."""
    choose = random.Random(seed)
    lengths = [round(args.prompt * choose.uniform(0.75, 1.25)) for _ in range(args.requests)]
    return [[choose.randrange(10, vocab_size) for _ in range(length)] for length in lengths]


def options_of(mode: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the engine's options in ``mode``."""
    longest = round(args.prompt * 1.25) + args.output + 1
    if args.chats:
        longest = max(longest, args.chat_prompt + args.chat_output + 1)
    needed = args.requests * -(-(args.prompt + args.output) // BLOCK_SIZE)
    pool = max(int(needed * args.share), -(-longest // BLOCK_SIZE))
    options: dict[str, Any] = {"max_model_len": longest, "block_size": BLOCK_SIZE, "max_num_seqs": args.requests + 1}
    options["enable_prefix_caching"] = not args.no_prefix_cache
    if mode == "ample":
        return {**options, "num_gpu_blocks_override": (args.requests + 1) * -(-longest // BLOCK_SIZE)}
    options |= {"num_gpu_blocks_override": pool, "swap_space": args.swap_space}
    return options if mode == "measured" else {**options, "preemption_mode": mode}


def run(mode: str, folder: pathlib.Path, args: argparse.Namespace) -> Round:
    """Load an engine, run the requests twice, return what the second time took."""
    options = {
        "device": args.device,
        "dtype": args.dtype,
        "load_format": "dummy",
        "skip_tokenizer_init": True,
        **options_of(mode, args),
    }
    params = SamplingParams(temperature=0, max_tokens=args.output, ignore_eos=True, detokenize=False)
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    with LLM(str(folder), **options) as llm:
        for seed in (1, 2):
            prompts = make_prompts(args, seed, vocab_size)
            before, start_s = llm.status(), time.perf_counter()
            with Chats(llm, args, vocab_size) as chats:
                outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
                seconds = time.perf_counter() - start_s
            after = llm.status()
        llm.engine.check_integrity()
    new_tokens = sum(map(len, prompts)) + len(chats.first_token_s) * args.chat_prompt
    block_bytes = after.memory.kv_cache_bytes / (after.scheduler.num_blocks + 1)
    return Round(
        mode=mode,
        seconds=seconds,
        tokens_recomputed=after.tokens_in - before.tokens_in - new_tokens,
        move_gb_per_s=block_bytes / after.scheduler.preemption_costs.move_s_per_block / 1e9,
        compute_tokens_per_s=1 / after.scheduler.preemption_costs.compute_s_per_token,
        lost_share=after.scheduler.lost_share,
        num_chats=len(chats.first_token_s),
        first_token_s=statistics.median(chats.first_token_s) if chats.first_token_s else 0.0,
        answers=[output.outputs[0].token_ids for output in outputs],
        **_differences(before.scheduler, after.scheduler),
    )


def _differences(old: SchedulerStats, new: SchedulerStats) -> dict[str, int]:
    return {
        "preemptions": new.num_preemptions - old.num_preemptions,
        "swaps": new.num_swaps - old.num_swaps,
        "blocks_out": new.num_blocks_swapped_out - old.num_blocks_swapped_out,
        "blocks_in": new.num_blocks_swapped_in - old.num_blocks_swapped_in,
    }


COLUMNS: dict[str, tuple[str, str]] = {
    "seconds": ("seconds", ".2f"),
    "preemptions": ("preempted", ","),
    "swaps": ("by swap", ","),
    "tokens_recomputed": ("recomputed", ","),
    "blocks_out": ("out", ","),
    "blocks_in": ("in", ","),
    "num_chats": ("chats", ","),
    "first_token_s": ("first token s", ".3f"),
}


def print_table(rounds: list[Round]) -> None:
    """Print what the modes took, how many of their answers are those of the first one, and how far they agree."""
    heads = [title.rjust(9) for title, _ in COLUMNS.values()]
    print("  ".join(["mode".ljust(10), *heads, "same answers", "median tokens until they differ"]))
    for each in rounds:
        fields = [format(getattr(each, name), form) for name, (_, form) in COLUMNS.items()]
        pairs = list(zip(each.answers, rounds[0].answers, strict=True))
        same = sum(ours == theirs for ours, theirs in pairs)
        agreed = statistics.median(_num_agreed(ours, theirs) for ours, theirs in pairs)
        padded = (field.rjust(max(9, len(title))) for field, (title, _) in zip(fields, COLUMNS.values(), strict=True))
        print("  ".join([each.mode.ljust(10), *padded, f"{same} of {len(pairs)}".rjust(12), f"{agreed:g}"]))


def _num_agreed(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int:
    """Return how many tokens are the same before the first that is not."""
    differences = (index for index, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    return next(differences, len(ours))


def _figures(each: Round, args: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {"job": "preemption", "model": args.model, **dataclasses.asdict(each)}
    del figures["answers"]
    figures |= {name: getattr(args, name) for name in ("requests", "prompt", "output", "share", "swap_space")}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", choices=[*MODES, []], help="all if none is named")
    parser.add_argument("--model", choices=[*sorted(SHAPES), "tiny"], default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="in float32 all modes should give the same answers")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=6000, help="tokens of a prompt, on average")
    parser.add_argument("--output", type=int, default=500, help="tokens of an answer")
    parser.add_argument("--share", type=float, default=0.1, help="of the blocks that all requests need")
    parser.add_argument("--swap-space", type=float, default=32.0, help="GiB")
    parser.add_argument("--no-prefix-cache", action="store_true", help="what loses its row loses all its blocks")
    parser.add_argument("--chats", action="store_true", help="answer watched requests meanwhile")
    parser.add_argument("--chat-prompt", type=int, default=6000)
    parser.add_argument("--chat-output", type=int, default=50)
    parser.add_argument("--chat-gap", type=float, default=0.2, help="seconds between two of them")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "pagednb-bench")
    args = parser.parse_args()
    os.environ["PAGEDNB_PROGRESS"] = "0"
    if args.model == "tiny":
        folder = args.folder / "tiny-preemption"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(TINY))
    else:
        folder = model_folder(args.model, args.folder)
    rounds = []
    for mode in args.modes or MODES:
        rounds.append(run(mode, folder, args))
        print(json.dumps(_figures(rounds[-1], args)), flush=True)
    print_table(rounds)


if __name__ == "__main__":
    main()
