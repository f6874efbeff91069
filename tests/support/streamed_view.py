"""A view of a streamed answer that does with its patches what a page does, and counts them."""

from __future__ import annotations

from pagednb.rendering.streamed import HtmlPatch, StreamedMarkdown


class StreamedView:
    """``blocks`` and ``tail`` are what is shown; ``num_characters`` what was sent."""

    def __init__(self, stream: StreamedMarkdown) -> None:
        self.stream = stream
        self.blocks: list[str] = []
        self.tail = ""
        self.num_characters = 0

    def push(self, delta: str) -> HtmlPatch:
        return self._apply(self.stream.push(delta))

    def finish(self) -> HtmlPatch:
        return self._apply(self.stream.finish())

    @property
    def html(self) -> str:
        assert not self.tail
        return "\n".join(self.blocks)

    def _apply(self, patch: HtmlPatch) -> HtmlPatch:
        assert 0 <= patch.keep <= len(self.blocks)
        if patch.blocks or patch.keep < len(self.blocks):
            self.blocks[patch.keep :] = patch.blocks
            self.tail = ""
        if patch.tail:
            assert '<span class="pnb-tail"></span>' in self.blocks[-1]
        self.tail += patch.tail
        self.num_characters += sum(map(len, patch.blocks)) + len(patch.tail)
        return patch
