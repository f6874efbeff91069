"""A request as it takes a row: what the table's fields will be."""

from __future__ import annotations

from typing import NamedTuple

from pagednb.scheduler.sequence import Sequence


class Newcomer(NamedTuple):
    """A row's new owner: ``num_computed`` of its ``num_known`` tokens will be; ``samples`` if that is all of them."""

    row: int
    sequence: Sequence
    num_known: int
    num_computed: int
    samples: bool

    @property
    def numbers(self) -> tuple[int, int, int, int, int, int]:
        """Request, prompt, most tokens, computed, known, with the one in flight."""
        request, num_prompt = self.sequence.request, len(self.sequence.request.prompt_token_ids)
        return (
            request.request_id,
            num_prompt,
            num_prompt + request.max_tokens,
            self.num_computed,
            self.num_known,
            self.num_known + self.samples,
        )

    @property
    def flags(self) -> tuple[bool, ...]:
        """Ends at EOS, has stop ids, wants updates, is stepwise, is constrained, takes runs, samples."""
        request, params = self.sequence.request, self.sequence.request.sampling_params
        goes_by_output = request.goes_by_output
        return (
            not params.ignore_eos,
            bool(params.stop_token_ids),
            request.wants_updates,
            params.needs_host_each_step or goes_by_output,
            goes_by_output,
            request.takes_forced_tokens,
            self.samples,
        )
