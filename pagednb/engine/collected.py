"""What has come so far of the sequences that one prompt asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

from pagednb.engine.detokenizer import IncrementalDetokenizer
from pagednb.engine.stop_strings import held_back
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.outputs import Logprob
from pagednb.request import FinishReason, Request, RequestUpdate, TokenLogprobs


@dataclasses.dataclass(slots=True, eq=False)
class CollectedSequence:
    """What is known of one sequence so far."""

    request: Request
    group: CollectedGroup
    detokenizer: IncrementalDetokenizer | None  # of streams with text
    token_ids: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[TokenLogprobs] = dataclasses.field(default_factory=list)
    last: RequestUpdate | None = None
    text: str = ""
    num_tokens_read: int = 0  # by the detokenizer
    num_tokens_told: int = 0  # by earlier deltas
    num_chars_told: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether its last update has come."""
        return self.last is not None and self.last.finish_reason is not None

    @property
    def cumulative_logprob(self) -> float:
        """Of the tokens so far, if they came with logprobs."""
        return sum(entry.logprob for entry in self.logprobs)

    @property
    def shown_token_ids(self) -> list[int]:
        """The tokens that make the text: a stop token is not among them, unless asked for."""
        assert self.last is not None
        is_hidden = self.last.finish_reason is FinishReason.STOP and self.last.stop_match is None
        if is_hidden and not self.request.sampling_params.include_stop_str_in_output:
            return self.token_ids[:-1]
        return self.token_ids


@dataclasses.dataclass(slots=True, eq=False)
class CollectedGroup:
    """The sequences of one prompt (one, unless several are drawn), in order of index."""

    key: Hashable
    prompt: TokenPrompt
    arrival_s: float
    sequences: list[CollectedSequence] = dataclasses.field(default_factory=list)
    first_token_s: float | None = None
    finished_s: float | None = None
    prompt_logprobs: tuple[dict[int, Logprob] | None, ...] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all its sequences are."""
        return all(sequence.is_finished for sequence in self.sequences)

    @property
    def is_told_early(self) -> bool:
        """Whether outputs are of use before the end; which of them are the best shows only then."""
        request = self.sequences[0].request
        return request.stream and not request.sampling_params.is_ranked

    @property
    def returned(self) -> list[CollectedSequence]:
        """The sequences that the caller gets: all, or the most likely ones."""
        params = self.sequences[0].request.sampling_params
        if not params.is_ranked:
            return self.sequences
        return sorted(self.sequences, key=lambda sequence: -sequence.cumulative_logprob)[: params.n]


def take_update(sequence: CollectedSequence, update: RequestUpdate, time_s: float) -> None:
    """Add one update to what is known of its sequence; its text comes with ``grow_text``."""
    group = sequence.group
    sequence.last = update
    sequence.logprobs.extend(update.logprobs)
    if update.finish_reason is None:
        sequence.token_ids.extend(update.new_token_ids)
    else:
        assert update.output_token_ids is not None
        sequence.token_ids = update.output_token_ids.tolist()
    if sequence.token_ids and group.first_token_s is None and sequence.request.stream:
        group.first_token_s = time_s
    if group.is_finished:
        group.finished_s = time_s


def grow_text(sequence: CollectedSequence) -> None:
    """Make text of a stream's tokens that have come since the last call: one piece, however many updates there were."""
    if sequence.detokenizer is None:
        return
    shown = sequence.shown_token_ids
    sequence.detokenizer.feed(shown[sequence.num_tokens_read :])
    sequence.num_tokens_read = len(shown)
    text = sequence.detokenizer.text
    sequence.text = text[: len(text) - _num_held_back(sequence, text)]


def _num_held_back(sequence: CollectedSequence, text: str) -> int:
    params = sequence.request.sampling_params
    return 0 if params.include_stop_str_in_output else held_back(text, params.stop or ())
