"""Rows whose logits were no numbers: kernels give them token -1, and here their requests are told to end."""

from __future__ import annotations

import dataclasses

import numpy as np

from pagednb.scheduler.output import RunnerOutput, SampleFailure, SchedulerOutput

NAN_SENTENCE = (
    "The logits are NaN, so that no token can be chosen: a logits processor wrote them, the model's weights are "
    'damaged, or its numbers are too large for the dtype. Load it again; if it stays so, with dtype="float32".'
)


def with_nan_failures(plan: SchedulerOutput, output: RunnerOutput) -> RunnerOutput:
    """Return ``output`` with a failure for each row that has no token where it takes one."""
    if not output.token_ids.size or output.token_ids.min() >= 0:
        return output
    is_missing = output.token_ids < 0
    if plan.decode_counts is not None:  # what a row has beyond its count means nothing
        is_missing &= np.arange(plan.num_decode_steps) < plan.decode_counts[:, None]
    failures = [SampleFailure(position, NAN_SENTENCE) for position in np.flatnonzero(is_missing.any(axis=1)).tolist()]
    return dataclasses.replace(output, failures=(*output.failures, *failures))
