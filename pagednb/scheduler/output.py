"""What crosses between scheduler and runner: a diff down, tokens back. NumPy only.

The runner keeps a fixed row of state per running request. A plan names what changed since the last plan, in the order
in which the runner applies it: swap out, release, admit, grow, copy, swap in; then which rows run. A steady decode step
carries one array of rows and nothing per request.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pagednb.sampling_params import SamplingParams


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """What the next plan may hold at most, beside the limits that are fixed.

    Attributes:
        max_decode_steps: decode steps that may go out in one plan, at least 1.
        max_num_tokens: tokens of the whole step, prompts included; None leaves it to ``max_num_batched_tokens``.
            Decodes always run, and prompts never stop altogether.
    """

    max_decode_steps: int = 1
    max_num_tokens: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A request takes a row, new or resumed after preemption.

    Attributes:
        row: the row it owns until released.
        token_ids: int32 ``[num_tokens]``, the prompt and, after preemption, the output so far. Read-only.
        num_prompt_tokens: how many of them are the prompt.
        num_computed_tokens: how many already have their KV in ``block_ids`` (prefix cache, fork).
        block_ids: int32 ``[num_blocks]``, the block table so far.
        max_total_tokens: prompt and output at most; a row that has sampled its last token computes no more.
        sampling_params, seed: how to sample it.
    """

    row: int
    token_ids: np.ndarray
    num_prompt_tokens: int
    num_computed_tokens: int
    max_total_tokens: int
    block_ids: np.ndarray
    sampling_params: SamplingParams
    seed: int


class PromptScoring(NamedTuple):
    """What a chunk is to score for a request that asks for the log-probabilities of its prompt.

    ``token_ids``: int32, at least one: the tokens after the chunk's positions from ``first`` on. ``num_top``: how many
    of the likeliest tokens are reported beside each.
    """

    request_id: int
    first: int
    token_ids: np.ndarray
    num_top: int


class PromptPooling(NamedTuple):
    """What a chunk adds to the embedding of its prompt: the sum of the hidden states of its tokens ``start : stop``."""

    request_id: int
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrefillChunk:
    """Tokens ``start : start + len(token_ids)`` of a row are computed in this step.

    ``samples`` is True for the chunk that ends the known tokens: its last position yields a new token.
    """

    row: int
    start: int
    token_ids: np.ndarray
    samples: bool
    scoring: PromptScoring | None = None
    pooling: PromptPooling | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockGrowth:
    """New blocks, packed: ``block_table[rows[i], columns[i]] = block_ids[i]``, each int32 ``[num_grown]``."""

    rows: np.ndarray
    columns: np.ndarray
    block_ids: np.ndarray


EMPTY_ROWS = np.empty(0, dtype=np.int32)
EMPTY_ROWS.setflags(write=False)
NO_MOVES = np.empty((0, 2), dtype=np.int32)
NO_MOVES.setflags(write=False)
NO_GROWTH = BlockGrowth(rows=EMPTY_ROWS, columns=EMPTY_ROWS, block_ids=EMPTY_ROWS)


def _no_rows() -> np.ndarray:
    return EMPTY_ROWS


def _no_moves() -> np.ndarray:
    return NO_MOVES


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TokenMasks:
    """Which tokens the constrained rows of a step may sample.

    Attributes:
        sample_positions: int32 ``[m]``, rising indices into ``sampled_rows``.
        words: int32 ``[m, ceil(vocab_size / 32)]``; token t may be sampled if bit ``t % 32`` of word ``t // 32`` is
            set. At least one is.
    """

    sample_positions: np.ndarray
    words: np.ndarray


class LogitsCall(NamedTuple):
    """A sampled row whose logits the caller's own functions change.

    Attributes:
        position: its index in ``sampled_rows``.
        processors: as in ``SamplingParams``.
        prompt_token_ids, output_token_ids: int32, all of both.
    """

    position: int
    processors: Sequence[Callable[..., Any]]
    prompt_token_ids: np.ndarray
    output_token_ids: np.ndarray


class SampleFailure(NamedTuple):
    """A row that could not be sampled: its index in ``sampled_rows``, and why, as a sentence."""

    position: int
    error: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerOutput:
    """One step's plan.

    Attributes:
        step: number of the step, rising by one.
        swap_outs: int32 ``[num_moves, 2]``, (block, host block): copied to host memory before anything else is done.
        released_rows: int32, rows whose request is gone (finished, aborted, preempted).
        admissions: rows taken.
        growth: changes of block tables.
        block_copies: (source, destination) blocks, copied in every layer before the pass (copy-on-write).
        swap_ins: as ``swap_outs``, the other way: copied back after all other copies, before the pass.
        decode_rows: int32 ``[num_decodes]``, rows that feed back their last token; each samples one.
        prefills: chunks, after the decodes in the batch.
        sampled_rows: int32 ``[num_sampled]``: ``decode_rows``, then the rows of chunks that sample, in order.
        sampled_request_ids: int64 ``[num_sampled]``: who owned those rows when the plan was made; the scheduler drops
            tokens of requests that ended meanwhile.
        shared_prefix_lens: int32 ``[num_decodes]``: how many leading tokens a decoding row shares with the others of
            one group, the same number for its members and 0 for the rest; below each member's length. None: no group
            is worth attending to apart. The same object for as long as ``decode_rows`` is.
        max_seq_len: longest context in the batch after this step.
        num_decode_steps: decode steps run in one go, on the device alone; 1 in a plan with prefills. A row that samples
            its last token in one of them computes nothing in those that follow.
        decode_counts: int32 ``[num_decodes]``, the tokens that each decoding row really takes; None when all take
            ``num_decode_steps``. For the scheduler's own books.
        token_masks: of the sampled rows that are constrained; None when there are none. The engine core adds them.
        logits_calls: of the sampled rows that have logits processors; the engine core adds them too.
    """

    step: int
    swap_outs: np.ndarray = dataclasses.field(default_factory=_no_moves)
    released_rows: np.ndarray = dataclasses.field(default_factory=_no_rows)
    admissions: tuple[Admission, ...] = ()
    growth: BlockGrowth = NO_GROWTH
    block_copies: tuple[tuple[int, int], ...] = ()
    swap_ins: np.ndarray = dataclasses.field(default_factory=_no_moves)
    decode_rows: np.ndarray = dataclasses.field(default_factory=_no_rows)
    prefills: tuple[PrefillChunk, ...] = ()
    sampled_rows: np.ndarray = dataclasses.field(default_factory=_no_rows)
    sampled_request_ids: np.ndarray = dataclasses.field(default_factory=_no_rows)
    shared_prefix_lens: np.ndarray | None = None
    max_seq_len: int = 0
    num_decode_steps: int = 1
    decode_counts: np.ndarray | None = None
    token_masks: TokenMasks | None = None
    logits_calls: tuple[LogitsCall, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no token is computed. Its diff may still carry released rows; they travel with the next plan."""
        return not len(self.decode_rows) and not self.prefills

    @property
    def has_scoring(self) -> bool:
        """Whether any chunk scores prompt tokens."""
        return any(chunk.scoring is not None for chunk in self.prefills)

    @property
    def has_pooling(self) -> bool:
        """Whether any chunk adds to an embedding."""
        return any(chunk.pooling is not None for chunk in self.prefills)

    @property
    def num_tokens(self) -> int:
        """Tokens computed in this step."""
        return len(self.decode_rows) + sum(len(chunk.token_ids) for chunk in self.prefills)

    @property
    def num_sampled_tokens(self) -> int:
        """Tokens sampled in this step, those aside that rows do not take."""
        if self.decode_counts is not None:
            return int(self.decode_counts.sum())
        return len(self.sampled_rows) * self.num_decode_steps


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogprobArrays:
    """Logprobs of the sampled rows that asked for them, padded to the largest ``num_logprobs`` among them.

    Attributes:
        sample_positions: int32 ``[m]``, indices into ``sampled_rows``.
        sampled_logprobs: float32 ``[m]``; ``ranks``: int32 ``[m]``, 1 is the most likely.
        top_token_ids, top_logprobs: int32 and float32 ``[m, width]``, most likely first, or as the row named them.
    """

    sample_positions: np.ndarray
    sampled_logprobs: np.ndarray
    ranks: np.ndarray
    top_token_ids: np.ndarray
    top_logprobs: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOutput:
    """Tokens of one step: int64 ``[num_sampled, num_decode_steps]``, rows as in ``sampled_rows``.

    What a row has beyond the tokens that it takes means nothing. Logprobs come with single steps only. ``device_s`` is
    the time by the device's clock since the end of the step before, idle time included; None where there is no clock.
    ``swap_s`` is how long the plan's ``swap_outs`` and ``swap_ins`` took; None without any.
    ``prompt_logprobs`` are of the tokens that the plan's chunks score, one after the other. The tokens of ``failures``
    mean nothing. ``pooled``: float32 ``[num_pooled, hidden_size]``, what the plan's chunks add to embeddings, in order.
    """

    token_ids: np.ndarray
    logprobs: LogprobArrays | None = None
    prompt_logprobs: LogprobArrays | None = None
    failures: tuple[SampleFailure, ...] = ()
    pooled: np.ndarray | None = None
    device_s: float | None = None
    swap_s: float | None = None
