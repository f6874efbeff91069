"""A request on its way through the engine loop, and its end at a stop string.

The loop keeps one of these for each request; of text it knows only that a scanner may say stop.
"""

from __future__ import annotations

import dataclasses

from pagednb.engine.core import EngineCore
from pagednb.engine.mailbox import Mailbox
from pagednb.engine.stop_strings import StopScanner
from pagednb.request import FinishReason, Request, RequestUpdate


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """A request, where its news go, and what watches its text if stop strings can end it."""

    request: Request
    mailbox: Mailbox
    stop_scanner: StopScanner | None = None

    @property
    def wants_each_token(self) -> bool:
        """Whether the caller needs updates before the last; stop strings alone are the loop's affair."""
        return self.request.stream or self.request.sampling_params.num_logprobs is not None


def end_at_stop_string(core: EngineCore, submission: Submission, update: RequestUpdate) -> RequestUpdate:
    """Look for a stop string in the new tokens; if there is one, end the request there."""
    scanner = submission.stop_scanner
    if scanner is None or not update.new_token_ids:
        return update
    num_before = scanner.num_tokens
    match = scanner.feed(update.new_token_ids, ends_with_stop_token=update.finish_reason is FinishReason.STOP)
    if match is None:
        return update
    ended = core.scheduler.finish_stopped(update.request_id) if update.finish_reason is None else update
    assert ended.output_token_ids is not None
    return dataclasses.replace(
        ended,
        logprobs=update.logprobs[: match.num_tokens - num_before],
        finish_reason=FinishReason.STOP,
        stop_token_id=None,
        stop_match=match,
        output_token_ids=ended.output_token_ids[: match.num_tokens],
    )
