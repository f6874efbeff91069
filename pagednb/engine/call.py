"""One caller's requests, from submission to outputs, within a ``with`` block.

Whatever leaves the block early (Ctrl-C, cancellation, an error) aborts this call's requests and no others. All waits
are slices of 0.1 s on the caller's thread. A call belongs to one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from pagednb.engine.input_processor import InputProcessor
from pagednb.engine.loop import EngineLoop
from pagednb.engine.mailbox import GIVE_UP_WAIT_S, WAIT_SLICE_S, AbortAcknowledged, Failure, Mailbox, News
from pagednb.engine.output_processor import OutputProcessor
from pagednb.engine.stop_strings import StopScanner
from pagednb.engine.submission import Submission
from pagednb.engine.token_prompt import Prompt, TokenPrompt
from pagednb.errors import ContextLengthError, PromptError
from pagednb.interrupts import keeping_interrupts
from pagednb.outputs import RequestOutput
from pagednb.request import Pooling, Request
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.detokenizer import TextDecoder

Key = TypeVar("Key", bound=Hashable)
Refusal = ContextLengthError | PromptError


class Call(Generic[Key]):
    """Submit under keys of your own, then poll: outputs come as they finish, each with its key."""

    def __init__(
        self,
        loop: EngineLoop,
        input_processor: InputProcessor,
        outputs: OutputProcessor,
        decoder: TextDecoder | None,
        *,
        stream: bool,
        priority: int,
        mailbox: Mailbox | None = None,
        pooling: Pooling | None = None,
    ) -> None:
        self._loop = loop
        self._pooling = pooling
        self._input_processor = input_processor
        self._decoder = decoder
        self._stream = stream
        self._priority = priority
        self._mailbox = mailbox or Mailbox()
        self._outputs = outputs

    @property
    def num_pending(self) -> int:
        """Prompts submitted whose output is not complete."""
        return self._outputs.num_pending

    def submit(self, key: Key, prompt: Prompt | TokenPrompt, params: SamplingParams) -> None:
        """Check a prompt and hand it to the engine; returns at once.

        Raises:
            PromptError: the prompt is malformed.
            ContextLengthError: it can never fit.
            OptionError: parameters that this model cannot follow.
            EngineDeadError: the engine is gone.
        """
        if not isinstance(prompt, TokenPrompt):
            (prompt,) = self._input_processor.tokenize([prompt])
        self.submit_all([(key, prompt, params)])

    def submit_all(self, batch: Sequence[tuple[Key, TokenPrompt, SamplingParams]]) -> None:
        """Check encoded prompts and hand them to the engine together, so that its next step sees all of them.

        Raises as ``submit``; none is handed over then.
        """
        self._hand_over([(key, prompt, self._make_requests(prompt, params)) for key, prompt, params in batch])

    def offer(self, batch: Sequence[tuple[Key, Prompt, SamplingParams]]) -> list[tuple[Key, Refusal]]:
        """Hand over together what can run; return the keys of prompts that can never run, each with the reason.

        Raises:
            OptionError: parameters that this model cannot follow.
            EngineDeadError: the engine is gone.
        """
        accepted: list[tuple[Key, TokenPrompt, tuple[Request, ...]]] = []
        refused: list[tuple[Key, Refusal]] = []
        prompts = self._tokenize_each([prompt for _, prompt, _ in batch])
        for (key, _, params), prompt in zip(batch, prompts, strict=True):
            try:
                if not isinstance(prompt, TokenPrompt):
                    raise prompt
                accepted.append((key, prompt, self._make_requests(prompt, params)))
            except (ContextLengthError, PromptError) as refusal:
                refused.append((key, refusal))
        self._hand_over(accepted)
        return refused

    def _tokenize_each(self, prompts: Sequence[Prompt]) -> list[TokenPrompt | PromptError]:
        """Tokenize all at once; only where one of them is malformed, one by one."""
        try:
            return list(self._input_processor.tokenize(prompts))
        except PromptError as error:
            if len(prompts) == 1:
                return [error]
        return [each for prompt in prompts for each in self._tokenize_each([prompt])]

    def _make_requests(self, prompt: TokenPrompt, params: SamplingParams) -> tuple[Request, ...]:
        return self._input_processor.make_requests(
            prompt, params, stream=self._stream, priority=self._priority, pooling=self._pooling
        )

    def _hand_over(self, batch: Sequence[tuple[Key, TokenPrompt, tuple[Request, ...]]]) -> None:
        # expected before they are sent: an interrupt in between aborts requests that the engine never saw
        now_s = time.perf_counter()
        for key, prompt, requests in batch:
            self._outputs.add(key, prompt, requests, now_s)
        submissions = [
            Submission(request, self._mailbox, self._stop_scanner(request.sampling_params))
            for _, _, requests in batch
            for request in requests
        ]
        if submissions:
            self._loop.submit(submissions)

    def poll(self, timeout_s: float = WAIT_SLICE_S) -> list[tuple[Key, RequestOutput]]:
        """Return outputs that became complete, or of a stream those that grew; waits for news up to ``timeout_s``.

        Raises:
            EngineStepError: a step failed; all requests of this call are lost.
            EngineDeadError: the engine is gone.
        """
        with keeping_interrupts():
            return self._poll(timeout_s)

    def _poll(self, timeout_s: float) -> list[tuple[Key, RequestOutput]]:
        deadline_s = time.perf_counter() + timeout_s
        while self.num_pending:
            letters = self._mailbox.take(deadline_s - time.perf_counter())
            for letter in letters:
                if isinstance(letter, Failure):
                    self.abandon()  # what was sent after the failure, and before this was read, is running
                    raise letter.error
            outputs = self._outputs.process(letter for letter in letters if isinstance(letter, News))
            if outputs:
                return cast("list[tuple[Key, RequestOutput]]", outputs)
            if not letters:
                self._raise_if_over()
            if time.perf_counter() >= deadline_s:
                break
        return []

    def results(self) -> Iterator[tuple[Key, RequestOutput]]:
        """Yield outputs as ``poll`` returns them until none is pending."""
        while self.num_pending:
            yield from self.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.abandon():
            self._await_acknowledgement()

    def abandon(self) -> bool:
        """Abort what is pending without waiting until it is gone, and expect nothing more; return whether any was."""
        pending = self._outputs.pending_request_ids
        if pending and not self._loop.is_over:
            self._loop.abort(pending, self._mailbox)
        self._outputs.forget()
        return bool(pending)

    def _await_acknowledgement(self) -> None:
        """Wait until the blocks are free, but not longer than a user would; a second Ctrl-C ends it at once."""
        deadline_s = time.perf_counter() + GIVE_UP_WAIT_S
        while not self._loop.is_over and (left_s := deadline_s - time.perf_counter()) > 0:
            if any(isinstance(letter, AbortAcknowledged) for letter in self._mailbox.take(left_s)):
                return

    def _raise_if_over(self) -> None:
        if self._loop.is_over:
            self._outputs.forget()
            self._loop.raise_if_over()

    def _stop_scanner(self, params: SamplingParams) -> StopScanner | None:
        return StopScanner(self._decoder, params) if params.stop and self._decoder is not None else None
