"""Measure the embedded model on wordings it never saw: ``python -m pagednb.embedded_model.evaluate [FOLDER]``.

Greedy decoding through transformers by default; any other engine can be measured by handing ``evaluate`` a function
from conversations to answers.
"""

from __future__ import annotations

import argparse
import collections
import csv
import pathlib
import random
from collections.abc import Callable, Sequence

from pagednb.embedded_model import weights_folder
from pagednb.embedded_model.grammar import Grammar
from pagednb.embedded_model.messages import Message
from pagednb.embedded_model.tasks import Example, TaskMaker, Turn

Complete = Callable[[Sequence[Sequence[Turn]]], list[str]]

SEED = 7
COUNTS = {
    "routing": 2000,
    "sentiment": 2000,
    "yes_no": 500,
    "extraction": 1000,
    "field": 500,
    "reply": 200,
    "small_talk": 300,
    "refusal": 100,
    "conversation": 300,
}
_BATCH_SIZE = 512
_FREE_TEXTS = pathlib.Path(__file__).resolve().parent / "grammar" / "free_texts.csv"


def held_out_examples(counts: dict[str, int] | None = None, seed: int = SEED) -> list[Example]:
    """Return examples whose sentences and instructions all come from the held-out split."""
    maker = TaskMaker(Grammar.load("heldout"), random.Random(seed), noise_rate=0.15)
    return [getattr(maker, task)() for task, count in (counts or COUNTS).items() for _ in range(count)]


def free_text_examples(seed: int = SEED) -> list[Example]:
    """Return the texts that no grammar made, each asked for in three held-out wordings."""
    maker = TaskMaker(Grammar.load("heldout"), random.Random(seed))
    examples = []
    with _FREE_TEXTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            message = Message(row["text"], row["team"] or None, row["sentiment"] or None)
            ask = maker.routing if message.team else maker.sentiment
            examples += [ask(message) for _ in range(3)]
    return examples


def count_correct(examples: Sequence[Example], complete: Complete) -> dict[str, tuple[int, int]]:
    """Return task -> (answers that match exactly, examples)."""
    answers = complete([example.turns for example in examples])
    correct, total = collections.Counter[str](), collections.Counter[str]()
    for example, answer in zip(examples, answers, strict=True):
        total[example.task] += 1
        correct[example.task] += answer.strip() == example.answer
    return {task: (correct[task], total[task]) for task in total}


def transformers_complete(folder: pathlib.Path, device: str, *, max_new_tokens: int = 200) -> Complete:
    """Return greedy completion through transformers, in fp32, batched by length."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()

    def complete(conversations: Sequence[Sequence[Turn]]) -> list[str]:
        texts = [
            tokenizer.apply_chat_template(list(c), tokenize=False, add_generation_prompt=True) for c in conversations
        ]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        answers = [""] * len(texts)
        for start in range(0, len(order), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            inputs = tokenizer([texts[i] for i in rows], return_tensors="pt", padding=True, return_token_type_ids=False)
            output = model.generate(**inputs.to(device), max_new_tokens=max_new_tokens, do_sample=False)
            new = output[:, inputs["input_ids"].shape[1] :]
            for i, text in zip(rows, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                answers[i] = text
        return answers

    return complete


def report(title: str, counts: dict[str, tuple[int, int]]) -> str:
    """Return a Markdown table of accuracies."""
    rows = [f"| {task} | {right} / {total} | {right / total:.1%} |" for task, (right, total) in counts.items()]
    return "\n".join([f"### {title}", "", "| task | exact | accuracy |", "|---|---|---|", *rows, ""])


def main() -> None:
    """Parse the command line, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=weights_folder())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--errors", action="store_true", help="print every wrong answer")
    options = parser.parse_args()
    complete = transformers_complete(options.folder, options.device)
    for title, examples in (("Held-out wordings", held_out_examples()), ("Free texts", free_text_examples())):
        print(report(title, count_correct(examples, complete)), flush=True)  # noqa: T201 - this module is a command
        if options.errors:
            print_errors(examples, complete)


def print_errors(examples: Sequence[Example], complete: Complete) -> None:
    """Print each example that was answered wrongly."""
    for example, answer in zip(examples, complete([example.turns for example in examples]), strict=True):
        if answer.strip() != example.answer:
            print(f"{example.task}\t{example.turns}\tgold={example.answer!r}\tgot={answer!r}")  # noqa: T201


if __name__ == "__main__":
    main()
