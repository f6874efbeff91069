"""What a step's tokens mean to single requests: the part of ``update`` that does work per request.

Only rows that ended, or whose every token matters to someone, come here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pagednb.request import FinishReason, RequestUpdate, TokenLogprobs
from pagednb.scheduler.output import LogprobArrays
from pagednb.scheduler.row_table import RowTable


class NewToken(NamedTuple):
    """A token that the host just learned: where it was sampled, and whether it is an EOS that counts."""

    row: int
    token_id: int
    sample_position: int
    is_eos: bool


class TokenReport(NamedTuple):
    """News of one row; when ``update.finish_reason`` is set, the row is to be given up."""

    row: int
    update: RequestUpdate


def report_tokens(new_tokens: list[NewToken], rows: RowTable, logprobs: LogprobArrays | None) -> Iterator[TokenReport]:
    """Yield a report for each token that ends its request, or that its request wants to hear of."""
    sample_to_index = {int(s): i for i, s in enumerate(logprobs.sample_positions)} if logprobs else {}
    for new in new_tokens:
        request = rows.request(new.row)
        reason, stop_token_id = _end_of(new, rows)
        if reason is None and not request.wants_updates:
            continue
        wanted = request.sampling_params.logprobs
        details: tuple[TokenLogprobs, ...] = ()
        if wanted is not None:
            assert logprobs is not None, "the runner forgot the logprobs"
            details = (_logprobs_at(logprobs, sample_to_index[new.sample_position], wanted),)
        update = RequestUpdate(
            request_id=request.request_id,
            new_token_ids=(new.token_id,) if request.wants_updates else (),
            logprobs=details,
            finish_reason=reason,
            stop_token_id=stop_token_id,
        )
        yield TokenReport(new.row, update)


def _end_of(new: NewToken, rows: RowTable) -> tuple[FinishReason | None, int | None]:
    """Return why the sequence ends with this token, and the stop token that did it."""
    if new.is_eos:
        return FinishReason.STOP, None
    if new.token_id in (rows.request(new.row).sampling_params.stop_token_ids or ()):
        return FinishReason.STOP, new.token_id
    if rows.num_known[new.row] >= rows.max_total[new.row]:
        return FinishReason.LENGTH, None
    return None, None


def _logprobs_at(logprobs: LogprobArrays, index: int, num_top: int) -> TokenLogprobs:
    return TokenLogprobs(
        logprob=float(logprobs.sampled_logprobs[index]),
        rank=int(logprobs.ranks[index]),
        top_token_ids=tuple(logprobs.top_token_ids[index, :num_top].tolist()),
        top_logprobs=tuple(logprobs.top_logprobs[index, :num_top].tolist()),
    )
