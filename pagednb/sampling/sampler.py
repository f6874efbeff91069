"""From hidden states to tokens: logits in bounded chunks, bias, penalties, then one sampling kernel.

The runner calls it once a step. Rows are the runner's; features that few requests use are looked up by row and cost
nothing while no live row uses them. The order: raw logprobs, bias and ``min_tokens``, the callers' own
processors, penalties, constraints, temperature, ``min_p``, ``top_k``, ``top_p``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pagednb.kernels.kernel_set import KernelSet
from pagednb.sampling.logits_processors import TokenBiases
from pagednb.sampling.logprobs import LogprobTensors, RawLogits, concatenate
from pagednb.sampling.named_tokens import NamedLogits, NamedTokens
from pagednb.sampling.penalties import Penalties
from pagednb.sampling.row_features import RowValues
from pagednb.sampling.token_masks import TokenMaskTable
from pagednb.sampling.user_processors import UserProcessors
from pagednb.scheduler.output import Admission, LogitsCall, SampleFailure, TokenMasks

LOGITS_CHUNK_BYTES = 512 * 2**20
"""Most memory that the logits of one chunk take as fp32: thousands of prefills may end in one step."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SamplingInputs:
    """How each sampled position draws its token: ``[num_sampled]`` each, on the device except ``rows``.

    ``positions`` is the index that the new token will have in its sequence; with the seed it keys the random numbers.
    ``mask_rows``: int32, which of the masks received last is the position's, negative for none; None without masks.
    """

    rows: np.ndarray
    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor
    seeds: torch.Tensor
    positions: torch.Tensor
    mask_rows: torch.Tensor | None = None

    def chunk(self, start: int, stop: int) -> SamplingInputs:
        """Return positions ``start : stop``."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return SamplingInputs(**{name: value[start:stop] for name, value in values.items() if value is not None})


class Sampler:
    """Samples rows; keeps what rows need beyond their plain sampling parameters."""

    def __init__(
        self,
        kernels: KernelSet,
        *,
        num_rows: int,
        vocab_size: int,
        eos_token_ids: tuple[int, ...],
        device: torch.device,
        logits_chunk_bytes: int = LOGITS_CHUNK_BYTES,
    ) -> None:
        self._kernels = kernels
        self._biases = TokenBiases(num_rows, vocab_size=vocab_size, eos_token_ids=eos_token_ids, device=device)
        self._penalties = Penalties(num_rows, vocab_size, device)
        self._masks = TokenMaskTable(num_rows, vocab_size=vocab_size, device=device)
        self._filtered = RowValues(num_rows)  # rows with top_k, top_p or min_p; the value has no meaning
        self._num_logprobs = RowValues(num_rows)
        self._named = NamedTokens(num_rows, kernels.token_logprobs)
        self._processed = RowValues(num_rows)  # rows whose logits must be fp32; the value has no meaning
        self._user = UserProcessors()
        self._chunk_rows = max(1, logits_chunk_bytes // (vocab_size * torch.float32.itemsize))

    def admit(self, admission: Admission) -> None:
        """Note what the row's sampling parameters ask for."""
        params = admission.sampling_params
        self._biases.admit(admission)
        self._penalties.admit(admission)
        if not params.is_greedy and (params.top_k or params.top_p < 1 or params.min_p):
            self._filtered.set(admission.row, 1)
        ranks_tokens = params.logprob_token_ids is None and params.num_logprobs is not None
        if params.num_logprobs is not None and ranks_tokens:
            self._num_logprobs.set(admission.row, params.num_logprobs)
        if params.logprob_token_ids is not None:
            self._named.admit(admission.row, tuple(params.logprob_token_ids))
        if params.changes_logits or ranks_tokens:
            self._processed.set(admission.row, 1)

    def release(self, rows: np.ndarray) -> None:
        """Forget ``rows``."""
        self._biases.release(rows)
        self._penalties.release(rows)
        self._filtered.pop(rows)
        self._num_logprobs.pop(rows)
        self._named.release(rows)
        self._processed.pop(rows)

    def receive_masks(self, masks: TokenMasks) -> None:
        """Take the masks of the next step; its ``mask_rows`` are indices into them."""
        self._masks.receive(masks)

    def receive_calls(self, calls: Sequence[LogitsCall]) -> None:
        """Take the calls of callers' code in the next step."""
        self._user.receive(calls)

    def take_failures(self) -> tuple[SampleFailure, ...]:
        """Return what failed in the calls of the step just sampled."""
        return self._user.take_failures()

    @property
    def has_filters(self) -> bool:
        """Whether any row, sampled now or not, has top-k, top-p or min-p."""
        return not self._filtered.is_empty

    def are_plain(self, rows: np.ndarray) -> bool:
        """Whether ``sample_plain`` serves ``rows``: no bias, ``min_tokens``, penalties or logprobs among them."""
        return not self._are_processed(rows) and self._named.are_absent(rows)

    def sample_plain(
        self,
        hidden: torch.Tensor,
        compute_logits: Callable[[torch.Tensor], torch.Tensor],
        inputs: SamplingInputs,
        *,
        has_filters: bool,
    ) -> torch.Tensor:
        """Return the tokens of plain rows, as ``sample`` does; looks at nothing on the host, so it can be captured."""
        token_ids = []
        for start in range(0, len(hidden), self._chunk_rows):
            stop = min(start + self._chunk_rows, len(hidden))
            logits = compute_logits(hidden[start:stop])
            token_ids.append(self._draw(logits, inputs.chunk(start, stop), has_filters=has_filters))
        return token_ids[0] if len(token_ids) == 1 else torch.cat(token_ids)

    def sample(
        self,
        hidden: torch.Tensor,
        compute_logits: Callable[[torch.Tensor], torch.Tensor],
        inputs: SamplingInputs,
    ) -> tuple[torch.Tensor, LogprobTensors | None]:
        """Return the tokens of ``hidden`` ``[num_sampled, hidden_size]``, int64, and the logprobs asked for.

        A row whose logits are no numbers has token -1.
        """
        width = max(self._num_logprobs.select(inputs.rows)[1], default=0)
        token_ids, logprobs = [], []
        for start in range(0, len(hidden), self._chunk_rows):
            stop = min(start + self._chunk_rows, len(hidden))
            logits = compute_logits(hidden[start:stop])
            part = inputs.chunk(start, stop)
            if self._are_processed(part.rows):
                logits = logits.float()  # biases and penalties are added in fp32, logprobs taken from it
            raw = self._keep_raw(logits, part, int(width))
            self._biases.apply(logits, part.rows, part.positions)
            self._user.apply(logits, start)
            self._penalties.apply(logits, part.rows)
            token_ids.append(self._draw(logits, part, has_filters=self.has_filters))
            logprobs += [each.gather(token_ids[-1].clamp(min=0), start) for each in raw]
        tokens = token_ids[0] if len(token_ids) == 1 else torch.cat(token_ids)
        self._penalties.record(tokens, inputs.rows)
        return tokens, concatenate(logprobs)

    def _are_processed(self, rows: np.ndarray) -> bool:
        return len(self._processed.select(rows)[0]) > 0

    def _keep_raw(self, logits: torch.Tensor, inputs: SamplingInputs, width: int) -> list[RawLogits | NamedLogits]:
        """Return what is left to be asked of ``logits`` when they are sampled from; biases and the like come first."""
        raw: list[RawLogits | NamedLogits] = []
        where, _ = self._num_logprobs.select(inputs.rows)
        if len(where):
            raw.append(RawLogits(logits, where, width))
        is_final = inputs.mask_rows is None and not self._are_processed(inputs.rows)
        named = self._named.keep(logits, inputs.rows, is_final=is_final)
        return raw if named is None else [*raw, named]

    def _draw(self, logits: torch.Tensor, inputs: SamplingInputs, *, has_filters: bool) -> torch.Tensor:
        if inputs.mask_rows is not None:
            self._kernels.apply_token_masks(logits, self._masks.words, inputs.mask_rows)
        # the search for thresholds reads logits several times; without it they are read once, in the model's dtype
        token_ids: torch.Tensor = self._kernels.sample_tokens(
            logits.float() if has_filters else logits,
            inputs.temperature,
            inputs.top_k,
            inputs.top_p,
            inputs.min_p,
            inputs.seeds,
            inputs.positions,
            has_filters=has_filters,
        )
        return token_ids
