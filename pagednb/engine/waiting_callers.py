"""Who waits for which request, and what of the engine's news each mailbox gets. The engine thread alone comes here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pagednb.engine.core import EngineCore
from pagednb.engine.mailbox import Failure, Mailbox, News
from pagednb.engine.metrics import EngineCounters
from pagednb.engine.submission import Submission, end_at_stop_string
from pagednb.errors import PagednbError
from pagednb.request import RequestUpdate


class WaitingCallers:
    """The submissions that are under way, by request. ``counters`` learn how many have ended."""

    def __init__(self, counters: EngineCounters) -> None:
        self._counters = counters
        self._submissions: dict[int, Submission] = {}

    def __len__(self) -> int:
        return len(self._submissions)

    @property
    def request_ids(self) -> list[int]:
        """Requests that somebody waits for."""
        return list(self._submissions)

    def submit(self, core: EngineCore, submissions: Sequence[Submission]) -> None:
        """Hand requests of one mailbox to the scheduler; if it refuses one, all of that mailbox end with the reason."""
        mailbox = submissions[0].mailbox
        try:
            for submission in submissions:
                core.scheduler.add(submission.request)
                self._submissions[submission.request.request_id] = submission
        except PagednbError as error:
            lost = [i for i, submission in self._submissions.items() if submission.mailbox is mailbox]
            core.scheduler.abort(lost)
            for request_id in lost:
                del self._submissions[request_id]
            mailbox.put(Failure(error))

    def deliver(self, core: EngineCore, updates: Sequence[RequestUpdate]) -> None:
        """Put all news of one step into the mailboxes, one letter a call."""
        news: dict[Mailbox, list[RequestUpdate]] = {}
        for raw_update in updates:
            submission = self._submissions[raw_update.request_id]
            update = end_at_stop_string(core, submission, raw_update)
            if update.finish_reason is not None:
                del self._submissions[update.request_id]
                self._counters.num_finished += 1
            elif not submission.wants_each_token:
                continue
            news.setdefault(submission.mailbox, []).append(update)
        now_s = time.perf_counter()
        for mailbox, mailbox_updates in news.items():
            mailbox.put(News(now_s, mailbox_updates))

    def fail_all(self, make_error: Callable[[], PagednbError]) -> None:
        """Tell every waiting call; each gets an exception of its own, since raising one changes its traceback."""
        mailboxes = {submission.mailbox for submission in self._submissions.values()}
        self._submissions.clear()
        for mailbox in mailboxes:
            mailbox.put(Failure(make_error()))
