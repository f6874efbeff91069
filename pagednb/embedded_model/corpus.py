"""The training text: a stream of examples from the grammar, and the same as token arrays, made by many processes.

Everything follows from one seed: shard ``i`` is drawn by a generator of its own, so the number of processes does not
change a single token.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import pathlib
import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pagednb.embedded_model.grammar import Grammar
from pagednb.embedded_model.tasks import TaskMaker, Turn
from pagednb.embedded_model.tokenizer import END_OF_TEXT, END_OF_TURN, render_chat, special_token_ids

MAX_TOKENS = 2048
SHARD_SIZE = 10_000
_CONVERSATIONS, _PLAIN_TEXTS = 0.10, 0.03


@dataclasses.dataclass(frozen=True)
class TokenShard:
    """Documents end to end. ``is_answer`` marks what the model should learn to write (an answer and its end)."""

    tokens: npt.NDArray[np.int16]  # [num_tokens]
    is_answer: npt.NDArray[np.bool_]  # [num_tokens]
    lengths: npt.NDArray[np.int32]  # [num_documents]

    @classmethod
    def join(cls, shards: list[TokenShard]) -> TokenShard:
        """Return one shard that holds the documents of all."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(shard, name) for shard in shards]) for name in names))


def documents(seed: str, count: int) -> Iterator[list[Turn] | str]:
    """Yield training documents: mostly one question, some conversations, a few texts without a chat template."""
    rng = random.Random(seed)
    maker = TaskMaker(Grammar.load("train"), rng)
    for _ in range(count):
        kind = rng.random()
        if kind < _PLAIN_TEXTS:
            yield maker.plain_text()
        elif kind < _PLAIN_TEXTS + _CONVERSATIONS:
            yield maker.conversation().messages
        else:
            yield maker.example().messages


def texts(seed: str, count: int) -> Iterator[str]:
    """Yield documents as the model reads them."""
    for document in documents(seed, count):
        yield document + END_OF_TEXT if isinstance(document, str) else render_chat(document)


def make_shards(tokenizer_file: pathlib.Path, seed: int, num_shards: int, num_processes: int) -> Iterator[TokenShard]:
    """Yield ``num_shards`` shards of ``SHARD_SIZE`` documents, in order, made in parallel."""
    make = functools.partial(make_shard, tokenizer_file, seed)
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        yield from pool.imap(make, range(num_shards))


def make_shard(tokenizer_file: pathlib.Path, seed: int, index: int) -> TokenShard:
    """Draw and encode one shard. Documents longer than ``MAX_TOKENS`` are left out."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    token_ids = special_token_ids(tokenizer)
    assistant, end = token_ids["<|assistant|>"], token_ids[END_OF_TURN]
    rows = (tokenizer.encode(text).ids for text in texts(f"{seed}/{index}", SHARD_SIZE))
    kept = [np.array(row, dtype=np.int16) for row in rows if len(row) <= MAX_TOKENS]
    return TokenShard(
        tokens=np.concatenate(kept),
        is_answer=np.concatenate([mark_answers(row, assistant, end) for row in kept]),
        lengths=np.array([len(row) for row in kept], dtype=np.int32),
    )


def mark_answers(tokens: npt.NDArray[np.int16], assistant: int, end: int) -> npt.NDArray[np.bool_]:
    """Mark the tokens after each ``<|assistant|>`` up to and with the next ``<|end|>``; all of a text that has none."""
    starts = np.flatnonzero(tokens == assistant)
    if starts.size == 0:
        return np.ones(tokens.shape, dtype=np.bool_)
    ends = np.flatnonzero(tokens == end)
    marks = np.zeros(tokens.shape, dtype=np.bool_)
    for start in starts:
        marks[start + 1 : ends[ends > start][0] + 1] = True
    return marks
