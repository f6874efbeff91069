"""The engine's answer to one row as bytes and back: what result caches and checkpoints keep.

The outputs of the row's requests are kept, not the verb's value, so one format serves all verbs: the task computes the
value from them again. Compact JSON, which any tool reads; embeddings are base64 of little-endian float32. Prompt tokens
are not kept: their digest is the key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pagednb.outputs import CompletionOutput, Logprob, RequestOutput

_NO_TEXT = CompletionOutput(index=0, text="", token_ids=(), finish_reason="stop")


def pack_answer(outputs: Sequence[RequestOutput]) -> bytes:
    """Return the outputs as UTF-8 JSON; numbers keep every digit."""
    return json.dumps([_packed_output(output) for output in outputs], separators=(",", ":")).encode()


def embedding_output(embedding: np.ndarray) -> RequestOutput:
    """Return an output that is an embedding, float32 ``[hidden_size]``, and no text."""
    return RequestOutput(request_id="", prompt=None, prompt_token_ids=(), outputs=(_NO_TEXT,), embedding=embedding)


def unpack_answer(data: bytes) -> list[RequestOutput]:
    """Return the outputs that ``pack_answer`` packed, without prompts, times and request ids.

    Raises:
        ValueError, LookupError, TypeError: ``data`` is something else.
    """
    packed = json.loads(data)
    if not isinstance(packed, list) or not packed or not all(packed):
        raise ValueError("no answer")
    return [_output(each) for each in packed]


def _output(packed: Any) -> RequestOutput:
    if isinstance(packed, str):
        return embedding_output(np.frombuffer(base64.b64decode(packed), dtype="<f4").astype(np.float32))
    completions = tuple(map(_unpacked, packed))
    return RequestOutput(request_id="", prompt=None, prompt_token_ids=(), outputs=completions)


def _packed_output(output: RequestOutput) -> Any:
    if output.embedding is not None:
        return base64.b64encode(output.embedding.astype("<f4").tobytes()).decode()
    return [_packed(completion) for completion in output.outputs]


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


def _unpacked(fields: Any) -> CompletionOutput:
    if not isinstance(fields, dict):
        raise TypeError("no completion")
    logprobs = fields.pop("logprobs", None)
    if logprobs is not None:
        logprobs = tuple({one[0]: Logprob(*one[1:]) for one in candidates} for candidates in logprobs)
    return CompletionOutput(**{**fields, "token_ids": tuple(fields["token_ids"])}, logprobs=logprobs)
