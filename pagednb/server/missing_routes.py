"""What a client is told of paths that this server does not have: of those that vLLM has, what to do instead."""

from __future__ import annotations

from collections.abc import Mapping

_NO_MEDIA = "Models of pictures or sound are not built yet."
_ASLEEP = "Sleep and wake up where the engine runs: pnb.sleep(), pnb.wake_up()."
_RERANK = "/score compares one text with many."
# beginnings of paths -> what to do instead; a path is itself, or below
_INSTEAD: Mapping[str, str] = {
    "/v1/responses": "Use /v1/chat/completions.",
    "/v1/messages": "Use /v1/chat/completions.",
    "/rerank": _RERANK,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/pooling": "Use /v1/embeddings.",
    "/classify": "Use /v1/chat/completions with structured_outputs and its choice.",
    "/v1/audio": _NO_MEDIA,
    "/v1/images": _NO_MEDIA,
    "/v1/load_lora_adapter": "Merge the adapter into the model's weights, and serve those.",
    "/v1/batches": "pagednb run-batch answers files of requests.",
    "/v1/files": "pagednb run-batch answers files of requests.",
    "/sleep": _ASLEEP,
    "/wake_up": _ASLEEP,
    "/is_sleeping": _ASLEEP,
}
_SHOWN_CHARS = 100


def missing_route(path: str) -> str:
    """Return the sentences for a path that no route has."""
    for beginning, instead in _INSTEAD.items():
        if path == beginning or path.startswith(f"{beginning}/"):
            return f"{beginning} is not built yet. {instead}"
    return f"There is no path {path[:_SHOWN_CHARS]!r} here. GET /openapi.json tells all."
