"""The sizes of a step that the host knows: those of a plan, or the larger ones of a graph that can run it."""

from __future__ import annotations

from typing import NamedTuple

from pagednb.scheduler.output import SchedulerOutput


class StepShape(NamedTuple):
    """What may not change between two runs of the same graph.

    Attributes:
        num_decodes: sequences that decode.
        context: no sequence is longer when the step has run.
        has_filters: whether top-k, top-p and min-p are looked at.
        num_steps: decode steps in a row; 1 with prefills.
        num_prefills, num_prefill_tokens: prefill chunks and their tokens.
        max_query_len: upper bound of a chunk's tokens.
        has_shared_prefix: whether attention looks for a group of decodes that begin alike.
        has_token_masks: whether sampling looks for constrained rows.
    """

    num_decodes: int
    context: int
    has_filters: bool = False
    num_steps: int = 1
    num_prefills: int = 0
    num_prefill_tokens: int = 0
    max_query_len: int = 0
    has_shared_prefix: bool = False
    has_token_masks: bool = False

    @classmethod
    def of(cls, plan: SchedulerOutput, *, has_filters: bool) -> StepShape:
        """Return the sizes of ``plan``."""
        query_lens = [len(chunk.token_ids) for chunk in plan.prefills]
        return cls(
            num_decodes=len(plan.decode_rows),
            context=plan.max_seq_len,
            has_filters=has_filters,
            num_steps=plan.num_decode_steps,
            num_prefills=len(query_lens),
            num_prefill_tokens=sum(query_lens),
            max_query_len=max(query_lens, default=0),
            has_shared_prefix=plan.shared_prefix_lens is not None,
            has_token_masks=plan.token_masks is not None,
        )

    @property
    def num_seqs(self) -> int:
        """Sequences in a pass."""
        return self.num_decodes + self.num_prefills

    @property
    def num_tokens(self) -> int:
        """Tokens in a pass."""
        return self.num_decodes + self.num_prefill_tokens

    def covers(self, other: StepShape) -> bool:
        """Whether a graph of this shape can run what ``other`` stands for."""
        same_kind = self[2:4] == other[2:4] and bool(self.num_prefills) == bool(other.num_prefills)
        # a group may go unnoticed: its rows then read the prefix one by one
        sizes = zip(self, other._replace(has_shared_prefix=False), strict=True)
        return same_kind and all(ours >= theirs for ours, theirs in sizes)


# products take 128 rows at a time: between such multiples a step is hardly faster
_BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640, 768, 896, 1024)
# graphs of several steps take long to capture: few sizes, and none where a step alone keeps the device busy
_MULTI_STEP_BATCH_SIZES = (1, 4, 16, 64)
_MULTI_STEPS = (2, 4, 8)
# with prefills the shapes multiply: coarse sizes
_MIXED_DECODES = (0, 8, 64, 256, 512, 1024)
_PREFILLS = (1, 8, 64)
_PREFILL_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048)
# where context costs little, one bound serves short sequences and longer ones
_MIN_CONTEXT = 1024
_MIN_MULTI_STEP_CONTEXT = 2048
_MIN_MIXED_CONTEXT = 4096
# captured when the model is loaded
_USUAL_CONTEXTS = (1024, 2048)
_USUAL_PREFILL_TOKENS = 512


class GraphShapes:
    """The shapes that graphs are captured in."""

    def __init__(
        self, *, max_num_seqs: int, max_model_len: int, max_mixed_tokens: int, with_shared_prefix: bool = False
    ) -> None:
        """``max_mixed_tokens``: with more tokens a step with prefills keeps the device busy longer than its launch.

        ``with_shared_prefix``: whether plans may name a group.
        """
        self.batch_sizes = _up_to(_BATCH_SIZES, max_num_seqs)
        self._multi_step_batch_sizes = tuple(size for size in _MULTI_STEP_BATCH_SIZES if size <= max_num_seqs)
        self._mixed_decodes = _up_to(_MIXED_DECODES, max_num_seqs)
        self._max_model_len = max_model_len
        self._max_mixed_tokens = max_mixed_tokens
        self._with_shared_prefix = with_shared_prefix

    def fit(self, exact: StepShape) -> StepShape | None:
        """Return the smallest shape that holds ``exact``; None when it is left to the eager path."""
        if exact.num_prefills:
            return self._fit_mixed(exact)
        if exact.num_steps > 1:
            return self._fit_multi_step(exact)
        num_decodes = _at_least(exact.num_decodes, self.batch_sizes)
        assert num_decodes is not None, f"{exact.num_decodes} decodes, at most {self.batch_sizes[-1]}"
        return exact._replace(num_decodes=num_decodes, context=self._context(exact.context, _MIN_CONTEXT))

    def usual(self) -> list[StepShape]:
        """Return the shapes worth a graph from the start: plain rows, short contexts, prompts that come alone."""
        contexts = sorted({min(context, self._max_model_len) for context in _USUAL_CONTEXTS})
        exact = [StepShape(size, context) for context in contexts for size in reversed(self.batch_sizes)]
        # one is enough to compile what masks and groups need
        exact.append(exact[0]._replace(has_token_masks=True))
        if self._with_shared_prefix:
            exact.append(exact[0]._replace(has_shared_prefix=True))
        longest_prompt = min(_USUAL_PREFILL_TOKENS, self._max_mixed_tokens, self._max_model_len)
        exact += [
            StepShape(0, 1, num_prefills=1, num_prefill_tokens=tokens, max_query_len=tokens)
            for tokens in _PREFILL_TOKENS
            if tokens <= longest_prompt
        ]
        exact += [StepShape(size, 1, num_steps=k) for size in self._multi_step_batch_sizes for k in _MULTI_STEPS]
        return [shape for shape in map(self.fit, exact) if shape is not None]

    @staticmethod
    def max_tokens(max_num_seqs: int) -> int:
        """Return the tokens of the largest shape."""
        return max_num_seqs + _PREFILL_TOKENS[-1]

    @staticmethod
    def max_seqs(max_num_seqs: int) -> int:
        """Return the sequences of the largest shape."""
        return max_num_seqs + _PREFILLS[-1]

    def _fit_multi_step(self, exact: StepShape) -> StepShape | None:
        num_decodes = _at_least(exact.num_decodes, self._multi_step_batch_sizes)
        if exact.num_steps not in _MULTI_STEPS or num_decodes is None:
            return None
        return exact._replace(num_decodes=num_decodes, context=self._context(exact.context, _MIN_MULTI_STEP_CONTEXT))

    def _fit_mixed(self, exact: StepShape) -> StepShape | None:
        num_decodes = _at_least(exact.num_decodes, self._mixed_decodes)
        num_prefills = _at_least(exact.num_prefills, _PREFILLS)
        # more tokens than chunks, padding included: with as many a step would take its tokens for the sampled ones
        least_tokens = max(exact.num_prefill_tokens, 1 + (num_prefills or 0))
        num_prefill_tokens = _at_least(least_tokens, _PREFILL_TOKENS)
        if num_decodes is None or num_prefills is None or num_prefill_tokens is None:
            return None
        if exact.num_tokens > self._max_mixed_tokens:
            return None
        return exact._replace(
            num_decodes=num_decodes,
            context=self._context(exact.context, _MIN_MIXED_CONTEXT),
            num_prefills=num_prefills,
            num_prefill_tokens=num_prefill_tokens,
            max_query_len=num_prefill_tokens,
        )

    def _context(self, max_seq_len: int, least: int) -> int:
        # powers of two keep the attention kernel's split size, and so its sums, as in the eager step
        return min(max(least, 1 << (max_seq_len - 1).bit_length()), self._max_model_len)


def _up_to(sizes: tuple[int, ...], largest: int) -> tuple[int, ...]:
    return (*(size for size in sizes if size < largest), largest)


def _at_least(number: int, sizes: tuple[int, ...]) -> int | None:
    return next((size for size in sizes if size >= number), None)
