"""From the engine's updates to what a caller receives: text, logprobs, finish reasons, in vLLM's shapes.

One per call, on the caller's thread. Finished sequences are decoded together, once; only streams are decoded piece by
piece.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np

from pagednb.engine.detokenizer import IncrementalDetokenizer, TextDecoder
from pagednb.engine.input_processor import TokenPrompt
from pagednb.engine.mailbox import News
from pagednb.engine.stop_strings import held_back
from pagednb.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
from pagednb.request import FinishReason, Request, RequestUpdate, TokenLogprobs

_NO_TOKENS = np.empty(0, dtype=np.int32)


@dataclasses.dataclass(slots=True, eq=False)
class _Sequence:
    """What is known of one sequence so far."""

    request: Request
    group: _Group
    detokenizer: IncrementalDetokenizer | None  # of streams with text
    token_ids: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[TokenLogprobs] = dataclasses.field(default_factory=list)
    last: RequestUpdate | None = None
    text: str = ""
    num_tokens_told: int = 0  # by earlier deltas
    num_chars_told: int = 0

    @property
    def is_finished(self) -> bool:
        return self.last is not None and self.last.finish_reason is not None

    @property
    def cumulative_logprob(self) -> float:
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
class _Group:
    """The sequences of one prompt (one, unless several are drawn), in order of index."""

    key: Hashable
    prompt: TokenPrompt
    arrival_s: float
    sequences: list[_Sequence] = dataclasses.field(default_factory=list)
    first_token_s: float | None = None
    finished_s: float | None = None
    prompt_logprobs: tuple[dict[int, Logprob] | None, ...] | None = None

    @property
    def is_finished(self) -> bool:
        return all(sequence.is_finished for sequence in self.sequences)

    @property
    def is_told_early(self) -> bool:
        """Whether outputs are of use before the end; which of them are the best shows only then."""
        request = self.sequences[0].request
        return request.stream and not request.sampling_params.is_ranked

    @property
    def returned(self) -> list[_Sequence]:
        """The sequences that the caller gets: all, or the most likely ones."""
        params = self.sequences[0].request.sampling_params
        if not params.is_ranked:
            return self.sequences
        return sorted(self.sequences, key=lambda sequence: -sequence.cumulative_logprob)[: params.n]


class OutputProcessor:
    """Collects the updates of one call's requests. ``decoder`` None: texts stay empty.

    Without ``returns_prompts`` outputs have no prompt and no prompt tokens. With ``deltas`` each output holds only the
    text, tokens and logprobs that earlier ones did not, and no cumulative logprob.
    """

    def __init__(self, decoder: TextDecoder | None, *, returns_prompts: bool = True, deltas: bool = False) -> None:
        self._decoder = decoder
        self._returns_prompts = returns_prompts
        self._deltas = deltas
        self._sequences: dict[int, _Sequence] = {}
        self._num_groups = 0
        self._token_texts: dict[int, str] = {}  # of logprobs: rows that ask for the same tokens are many

    @property
    def num_pending(self) -> int:
        """Prompts whose output is not complete."""
        return self._num_groups

    @property
    def pending_request_ids(self) -> tuple[int, ...]:
        """Requests that the engine still works on."""
        return tuple(i for i, sequence in self._sequences.items() if not sequence.is_finished)

    def add(self, key: Hashable, prompt: TokenPrompt, requests: Sequence[Request], arrival_s: float) -> None:
        """Expect updates for ``requests``, all of one prompt."""
        group = _Group(key, prompt, arrival_s)
        for request in requests:
            params = request.sampling_params
            detokenizer = None
            if request.stream and params.detokenize and self._decoder is not None:
                detokenizer = IncrementalDetokenizer(self._decoder, skip_special_tokens=params.skip_special_tokens)
            group.sequences.append(_Sequence(request, group, detokenizer))
        self._sequences.update((sequence.request.request_id, sequence) for sequence in group.sequences)
        self._num_groups += 1

    def forget(self) -> None:
        """Expect nothing any longer; updates still under way are ignored."""
        self._sequences.clear()
        self._num_groups = 0

    def process(self, letters: Iterable[News]) -> list[tuple[Hashable, RequestOutput]]:
        """Return the outputs that became complete and, of streams, those that grew; each prompt at most once."""
        grown, finished = self._take_updates(letters)
        self._write_texts(finished)
        outputs: list[tuple[Hashable, RequestOutput]] = []
        for group in grown:
            is_finished = group.is_finished
            if is_finished or group.is_told_early:
                outputs.append((group.key, self._output(group, is_finished)))
            if is_finished:
                self._num_groups -= 1
                for sequence in group.sequences:
                    del self._sequences[sequence.request.request_id]
                # group and sequences name each other: left so, each finished row would wait for the garbage collector
                group.sequences.clear()
        return outputs

    def _take_updates(self, letters: Iterable[News]) -> tuple[list[_Group], list[_Sequence]]:
        """Return the groups with news and the sequences that have ended."""
        grown: dict[_Group, None] = {}
        finished = []
        for letter in letters:
            for update in letter.updates:
                sequence = self._sequences.get(update.request_id)
                if sequence is None:
                    continue
                _take(sequence, update, letter.time_s)
                grown[sequence.group] = None
                if sequence.is_finished:
                    finished.append(sequence)
        return list(grown), finished

    def _write_texts(self, sequences: list[_Sequence]) -> None:
        """Write the final texts of finished sequences, those that no one has made yet in one batch."""
        to_decode: dict[bool, list[_Sequence]] = {True: [], False: []}
        for sequence in sequences:
            params = sequence.request.sampling_params
            assert sequence.last is not None
            if sequence.last.stop_match is not None:
                sequence.text = sequence.last.stop_match.text
            elif sequence.detokenizer is not None:
                sequence.detokenizer.flush()
                sequence.text = sequence.detokenizer.text
            elif params.detokenize:
                to_decode[params.skip_special_tokens].append(sequence)
        for skip, chosen in to_decode.items():
            if chosen and self._decoder is not None:
                texts = self._decoder.decode_batch([s.shown_token_ids for s in chosen], skip_special_tokens=skip)
                for sequence, text in zip(chosen, texts, strict=True):
                    sequence.text = text

    def _output(self, group: _Group, is_finished: bool) -> RequestOutput:
        first = group.sequences[0]
        token_ids = first.request.prompt_token_ids if self._returns_prompts else _NO_TOKENS
        return RequestOutput(
            request_id=str(first.request.request_id),
            prompt=group.prompt.text if self._returns_prompts else None,
            prompt_token_ids=tuple(token_ids.tolist()),
            outputs=tuple(self._completion(index, sequence) for index, sequence in enumerate(group.returned)),
            finished=is_finished,
            prompt_logprobs=self._prompt_logprobs(group),
            embedding=None if first.last is None else first.last.embedding,
            num_cached_tokens=0 if first.last is None else first.last.num_cached_tokens,
            metrics=RequestMetrics(
                arrival_s=group.arrival_s, first_token_s=group.first_token_s, finished_s=group.finished_s
            ),
        )

    def _completion(self, index: int, sequence: _Sequence) -> CompletionOutput:
        params = sequence.request.sampling_params
        wants_logprobs = params.reports_logprobs
        wants_sum = params.num_logprobs is not None and not self._deltas
        finish_reason = None if sequence.last is None else sequence.last.finish_reason
        first_token, first_char = sequence.num_tokens_told, sequence.num_chars_told
        if self._deltas:
            sequence.num_tokens_told, sequence.num_chars_told = len(sequence.token_ids), len(sequence.text)
        return CompletionOutput(
            index=index,
            text=sequence.text[first_char:],
            token_ids=tuple(sequence.token_ids[first_token:]),
            cumulative_logprob=sequence.cumulative_logprob if wants_sum else None,
            logprobs=tuple(self._logprob_dicts(sequence, first_token)) if wants_logprobs else None,
            finish_reason=None if finish_reason is None else finish_reason.value,
            stop_reason=_stop_reason(sequence.last),
        )

    def _prompt_logprobs(self, group: _Group) -> tuple[dict[int, Logprob] | None, ...] | None:
        """One dict a prompt token, made once; None before they are complete, or when nobody asked."""
        if group.prompt_logprobs is not None:
            return group.prompt_logprobs
        first = group.sequences[0]
        scores = () if first.last is None else first.last.prompt_logprobs
        num_scored = 1 + sum(len(part.token_ids) for part in scores)
        if first.request.sampling_params.prompt_logprobs is None or num_scored < first.request.num_prompt_tokens:
            return None
        group.prompt_logprobs = (None, *(self._ranked(*entry) for part in scores for entry in part.entries()))
        return group.prompt_logprobs

    def _logprob_dicts(self, sequence: _Sequence, first: int) -> Iterator[dict[int, Logprob]]:
        """One dict a position from ``first`` on: the sampled token, then the likeliest, or those that were named."""
        is_ranked = sequence.request.sampling_params.logprob_token_ids is None
        for token_id, entry in zip(sequence.token_ids[first:], sequence.logprobs[first:], strict=True):
            yield self._ranked(token_id, entry, is_ranked=is_ranked)

    def _ranked(self, token_id: int, entry: TokenLogprobs, *, is_ranked: bool = True) -> dict[int, Logprob]:
        """Return a token and the others of its position; only the likeliest are ranked, not those that were named."""
        ranked: dict[int, tuple[float, int | None]] = {token_id: (entry.logprob, entry.rank)}
        for rank, (top_id, logprob) in enumerate(zip(entry.top_token_ids, entry.top_logprobs, strict=True), 1):
            ranked.setdefault(top_id, (logprob, rank if is_ranked else None))
        return {i: Logprob(logprob, rank, self._token_text(i)) for i, (logprob, rank) in ranked.items()}

    def _token_text(self, token_id: int) -> str | None:
        if self._decoder is None:
            return None
        if token_id not in self._token_texts:
            self._token_texts[token_id] = self._decoder.decode([token_id], skip_special_tokens=False)
        return self._token_texts[token_id]


def _take(sequence: _Sequence, update: RequestUpdate, time_s: float) -> None:
    """Add one update to what is known of its sequence."""
    group = sequence.group
    num_before = len(sequence.token_ids)
    sequence.last = update
    sequence.logprobs.extend(update.logprobs)
    if update.finish_reason is None:
        sequence.token_ids.extend(update.new_token_ids)
    else:
        assert update.output_token_ids is not None
        sequence.token_ids = update.output_token_ids.tolist()
    if sequence.detokenizer is not None:
        sequence.detokenizer.feed(sequence.shown_token_ids[num_before:])
        text = sequence.detokenizer.text
        sequence.text = text[: len(text) - _num_held_back(sequence, text)]
    if sequence.token_ids and group.first_token_s is None and sequence.request.stream:
        group.first_token_s = time_s
    if group.is_finished:
        group.finished_s = time_s


def _num_held_back(sequence: _Sequence, text: str) -> int:
    params = sequence.request.sampling_params
    return 0 if params.include_stop_str_in_output else held_back(text, params.stop or ())


def _stop_reason(update: RequestUpdate | None) -> int | str | None:
    if update is None:
        return None
    if update.error is not None:
        return update.error
    return update.stop_token_id if update.stop_match is None else update.stop_match.stop
