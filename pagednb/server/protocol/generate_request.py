"""The body of ``/generate``, the endpoint of vLLM's first demonstration server."""

from __future__ import annotations

from pagednb.server.protocol.sampling_fields import SamplingFields


class GenerateRequest(SamplingFields):
    """A prompt, with sampling parameters beside it."""

    prompt: str
    stream: bool | None = None
