"""The engine's answer to one row as bytes and back: what result caches and checkpoints keep.

The outputs of the row's requests are kept, not the verb's value, so one format serves all verbs: the task computes the
value from them again. Compact JSON, which any tool reads. Prompt tokens are not kept: their digest is the key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pagednb.outputs import CompletionOutput, Logprob, RequestOutput


def pack_answer(outputs: Sequence[RequestOutput]) -> bytes:
    """Return the outputs as UTF-8 JSON; numbers keep every digit."""
    packed = [[_packed(completion) for completion in output.outputs] for output in outputs]
    return json.dumps(packed, separators=(",", ":")).encode()


def unpack_answer(data: bytes) -> list[RequestOutput]:
    """Return the outputs that ``pack_answer`` packed, without prompts, times and request ids.

    Raises:
        ValueError, LookupError, TypeError: ``data`` is something else.
    """
    packed = json.loads(data)
    if not isinstance(packed, list) or not packed or not all(packed):
        raise ValueError("no answer")
    return [
        RequestOutput(request_id="", prompt=None, prompt_token_ids=(), outputs=tuple(map(_unpacked, completions)))
        for completions in packed
    ]


def _packed(completion: CompletionOutput) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "index": completion.index,
        "text": completion.text,
        "token_ids": completion.token_ids,
        "cumulative_logprob": completion.cumulative_logprob,
        "finish_reason": completion.finish_reason,
        "stop_reason": completion.stop_reason,
    }
    if completion.logprobs is not None:
        fields["logprobs"] = [
            [[token_id, one.logprob, one.rank, one.decoded_token] for token_id, one in candidates.items()]
            for candidates in completion.logprobs
        ]
    return {name: value for name, value in fields.items() if value is not None}


def _unpacked(fields: dict[str, Any]) -> CompletionOutput:
    logprobs = fields.pop("logprobs", None)
    if logprobs is not None:
        logprobs = tuple({one[0]: Logprob(*one[1:]) for one in candidates} for candidates in logprobs)
    return CompletionOutput(**{**fields, "token_ids": tuple(fields["token_ids"])}, logprobs=logprobs)
