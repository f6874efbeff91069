"""What the rig's executor reports beside tokens: log-probabilities and hidden states that are known in advance."""

from __future__ import annotations

import numpy as np

from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import LogprobArrays, SchedulerOutput

HIDDEN_SIZE = 2


def hidden_state(token_id: int) -> np.ndarray:
    """The last hidden state of a token."""
    return np.array([1.0, token_id], dtype=np.float32)


def logprob_of(token_id: int) -> float:
    """The log-probability of a token wherever it stands: the first tokens of the vocabulary are the likeliest."""
    return -0.25 * (1 + token_id)


def sampled_logprobs(token_ids: list[int], rows: dict[int, SamplingParams], plan: SchedulerOutput) -> LogprobArrays:
    """Those of the sampled rows that ask for them; ``rows`` by number."""
    wanted = [
        (position, token_ids[position], rows[row].num_logprobs)
        for position, row in enumerate(plan.sampled_rows.tolist())
        if rows[row].num_logprobs is not None
    ]
    return _arrays(wanted)


def prompt_logprobs(plan: SchedulerOutput) -> LogprobArrays:
    """Those that the plan's chunks ask for."""
    scorings = [chunk.scoring for chunk in plan.prefills if chunk.scoring is not None]
    scored = [(token_id, scoring.num_top) for scoring in scorings for token_id in scoring.token_ids.tolist()]
    return _arrays([(position, token_id, num_top) for position, (token_id, num_top) in enumerate(scored)])


def pooled(plan: SchedulerOutput) -> np.ndarray:
    """The sums that the plan's chunks ask for, ``[num_pooled, HIDDEN_SIZE]``."""
    sums = []
    for chunk in plan.prefills:
        if chunk.pooling is not None:
            token_ids = chunk.token_ids[chunk.pooling.start : chunk.pooling.stop].tolist()
            sums.append(sum(map(hidden_state, token_ids), np.zeros(HIDDEN_SIZE, np.float32)))
    return np.array(sums, dtype=np.float32).reshape(-1, HIDDEN_SIZE)


def _arrays(wanted: list[tuple[int, int, int]]) -> LogprobArrays:
    width = max((num_top for _, _, num_top in wanted), default=0)
    top = np.tile(np.arange(width, dtype=np.int32), (len(wanted), 1))
    return LogprobArrays(
        sample_positions=np.array([position for position, _, _ in wanted], dtype=np.int32),
        sampled_logprobs=np.array([logprob_of(token_id) for _, token_id, _ in wanted], dtype=np.float32),
        ranks=np.array([1 + token_id for _, token_id, _ in wanted], dtype=np.int32),
        top_token_ids=top,
        top_logprobs=-0.25 * (1 + top.astype(np.float32)),
    )
