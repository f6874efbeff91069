"""From the engine's updates to what a caller receives: text, logprobs, finish reasons, in vLLM's shapes.

One per call, on the caller's thread. Finished sequences are decoded together, once; only streams are decoded piece by
piece.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from pagednb.engine.collected import CollectedGroup, CollectedSequence, grow_text, take_update
from pagednb.engine.detokenizer import IncrementalDetokenizer, TextDecoder
from pagednb.engine.logprob_writer import LogprobWriter
from pagednb.engine.mailbox import News
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.outputs import CompletionOutput, RequestMetrics, RequestOutput
from pagednb.request import Request, RequestUpdate

_NO_TOKENS = np.empty(0, dtype=np.int32)


class OutputProcessor:
    """Collects the updates of one call's requests. ``decoder`` None: texts stay empty.

    Without ``returns_prompts`` outputs have no prompt and no prompt tokens. With ``deltas`` each output holds only the
    text, tokens and logprobs that earlier ones did not, and no cumulative logprob.
    """

    def __init__(self, decoder: TextDecoder | None, *, returns_prompts: bool = True, deltas: bool = False) -> None:
        self._decoder = decoder
        self._returns_prompts = returns_prompts
        self._deltas = deltas
        self._sequences: dict[int, CollectedSequence] = {}
        self._num_groups = 0
        self._logprobs = LogprobWriter(decoder)

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
        group = CollectedGroup(key, prompt, arrival_s)
        for request in requests:
            params = request.sampling_params
            detokenizer = None
            if request.stream and params.detokenize and self._decoder is not None:
                detokenizer = IncrementalDetokenizer(self._decoder, skip_special_tokens=params.skip_special_tokens)
            group.sequences.append(CollectedSequence(request, group, detokenizer))
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

    def _take_updates(self, letters: Iterable[News]) -> tuple[list[CollectedGroup], list[CollectedSequence]]:
        """Return the groups with news and the sequences that have ended."""
        grown: dict[CollectedSequence, None] = {}
        for letter in letters:
            for update in letter.updates:
                sequence = self._sequences.get(update.request_id)
                if sequence is None:
                    continue
                take_update(sequence, update, letter.time_s)
                grown[sequence] = None
        for sequence in grown:
            grow_text(sequence)
        groups = dict.fromkeys(sequence.group for sequence in grown)
        return list(groups), [sequence for sequence in grown if sequence.is_finished]

    def _write_texts(self, sequences: list[CollectedSequence]) -> None:
        """Write the final texts of finished sequences, those that no one has made yet in one batch."""
        to_decode: dict[bool, list[CollectedSequence]] = {True: [], False: []}
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

    def _output(self, group: CollectedGroup, is_finished: bool) -> RequestOutput:
        first = group.sequences[0]
        token_ids = first.request.prompt_token_ids if self._returns_prompts else _NO_TOKENS
        return RequestOutput(
            request_id=str(first.request.request_id),
            prompt=group.prompt.text if self._returns_prompts else None,
            prompt_token_ids=tuple(token_ids.tolist()),
            outputs=tuple(self._completion(index, sequence) for index, sequence in enumerate(group.returned)),
            finished=is_finished,
            prompt_logprobs=self._logprobs.of_prompt(group),
            embedding=None if first.last is None else first.last.embedding,
            num_cached_tokens=0 if first.last is None else first.last.num_cached_tokens,
            metrics=RequestMetrics(
                arrival_s=group.arrival_s, first_token_s=group.first_token_s, finished_s=group.finished_s
            ),
        )

    def _completion(self, index: int, sequence: CollectedSequence) -> CompletionOutput:
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
            logprobs=tuple(self._logprobs.of_tokens(sequence, first_token)) if wants_logprobs else None,
            finish_reason=None if finish_reason is None else finish_reason.value,
            stop_reason=_stop_reason(sequence.last),
        )


def _stop_reason(update: RequestUpdate | None) -> int | str | None:
    if update is None:
        return None
    if update.error is not None:
        return update.error
    return update.stop_token_id if update.stop_match is None else update.stop_match.stop
