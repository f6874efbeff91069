"""The tree of labels' tokens, and the exact probability of each label from the model's logprobs at its branches.

The probability of a label is that of its tokens where the model may say nothing but labels: at each place where the
paths of labels part, the probabilities of the ways that go on are normalised to one; where there is one way, it is
certain. A label whose tokens begin another's parts from it by the end token. Plain Python: knows no engine.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pagednb.dataframe.run.task import RowFailure
from pagednb.sampling_checks import MAX_LOGPROB_TOKEN_IDS
from pagednb.sampling_params import SamplingParams

Path = tuple[int, ...]
Turn = tuple[Path, int | None]
"""A place in the tree, and the token that goes on from there; None for the end."""

ONE_TOKEN = SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)


@dataclasses.dataclass(frozen=True)
class Branch:
    """A place where labels part: the tokens that lead there, and for each way on the tokens that begin it.

    A way has one token, but the end has as many as the model has end tokens.
    """

    prefix: Path
    ways: tuple[Path, ...]

    @functools.cached_property
    def asks(self) -> tuple[SamplingParams, ...]:
        """Parameters of the requests, one mostly, that bring the logprobs of all ways' tokens."""
        token_ids = [token_id for way in self.ways for token_id in way]
        starts = range(0, len(token_ids), MAX_LOGPROB_TOKEN_IDS)
        groups = [tuple(token_ids[start : start + MAX_LOGPROB_TOKEN_IDS]) for start in starts]
        return tuple(dataclasses.replace(ONE_TOKEN, logprob_token_ids=group) for group in groups)


@dataclasses.dataclass(frozen=True)
class LabelTrie:
    """``branches`` begin with the first, which all labels pass; ``steps`` holds (branch, way) pairs for each label."""

    branches: tuple[Branch, ...]
    steps: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, paths: Sequence[Path], end_token_ids: Sequence[int]) -> LabelTrie:
        """Return the tree of at least two different paths that have no beginning in common.

        Raises:
            RowFailure: one path begins another, and there is no end token that tells them apart.
        """
        prefix_to_ways: dict[Path, dict[int | None, None]] = {}
        for path in paths:
            for depth, token_id in enumerate(path):
                prefix_to_ways.setdefault(path[:depth], {})[token_id] = None
        for path in paths:
            if path in prefix_to_ways:
                if not end_token_ids:
                    raise RowFailure("A label begins another one, and the model has no end token to tell them apart.")
                if not prefix_to_ways[path].keys().isdisjoint(end_token_ids):
                    raise RowFailure("A label goes on with the end token where another one ends.")
                prefix_to_ways[path][None] = None
        parting = {prefix: list(ways) for prefix, ways in prefix_to_ways.items() if len(ways) > 1}
        order = {prefix: index for index, prefix in enumerate(sorted(parting, key=len))}
        ends = tuple(end_token_ids)
        branches = tuple(
            Branch(prefix, tuple(ends if token_id is None else (token_id,) for token_id in parting[prefix]))
            for prefix in order
        )
        return cls(branches, tuple(_steps(path, parting, order) for path in paths))

    def log_probabilities(self, logprobs: Sequence[Mapping[int, float]]) -> np.ndarray:
        """Return the log-probability of each label, float64 ``[num_labels]``; together they are certain.

        ``logprobs``: for each branch, those of its tokens over the whole vocabulary.

        Raises:
            RowFailure: the model holds all ways of a branch for impossible, or its logits are no numbers.
        """
        ways = [_normalised(branch, known) for branch, known in zip(self.branches, logprobs, strict=True)]
        return np.array([sum(ways[branch][way] for branch, way in steps) for steps in self.steps])


def _steps(
    path: Path, parting: Mapping[Path, list[int | None]], order: Mapping[Path, int]
) -> tuple[tuple[int, int], ...]:
    turns: list[Turn] = [*((path[:depth], token_id) for depth, token_id in enumerate(path)), (path, None)]
    return tuple((order[prefix], parting[prefix].index(turn)) for prefix, turn in turns if prefix in parting)


def _normalised(branch: Branch, logprobs: Mapping[int, float]) -> list[float]:
    ways = [
        logprobs[way[0]] if len(way) == 1 else _log_sum(logprobs[token_id] for token_id in way) for way in branch.ways
    ]
    total = _log_sum(ways)
    if not math.isfinite(total):
        raise RowFailure("The model gives no label a probability here.")
    return [way - total for way in ways]


def _log_sum(terms: Iterable[float]) -> float:
    """The logarithm of a sum of probabilities. Python's floats: NumPy takes ten times as long for so few."""
    logprobs = list(terms)
    largest = max(logprobs)
    if not math.isfinite(largest):
        return largest
    return largest + math.log(sum(math.exp(logprob - largest) for logprob in logprobs))
