"""Answers the lines of a batch file on an engine: many at once, each for itself."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pagednb.server.api_error import BAD_REQUEST, error_body
from pagednb.server.app import create_app
from pagednb.server.batch.app_caller import call_app
from pagednb.server.batch.batch_line import BatchLine, BatchLineError, answer_line, read_line, refusal_line
from pagednb.server.desk import Desk
from pagednb.server.json_response import to_json
from pagednb.server.settings import ServerSettings

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

MAX_LINES = 1024
"""Lines under way: as many as keep a GPU busy, and as the desk lets wait for being read."""

_NO_LIMIT = 2**31
_OK = 200


@dataclasses.dataclass(slots=True)
class BatchCounts:
    """What has become of the lines so far; ``num_failed`` of the ``num_done`` have no answer but a reason."""

    num_done: int = 0
    num_failed: int = 0


Write = Callable[[bytes], object]
"""Gets lines of the output, one or several, with their line ends."""


class BatchRun:
    """Answers lines in the names of ``served_model_names``; each line of the output is written when it is there."""

    def __init__(self, engine: LLMEngine, served_model_names: tuple[str, ...], write: Write) -> None:
        limits = dict.fromkeys(("max_body_bytes", "max_n", "max_prompts", "max_sequences"), _NO_LIMIT)
        self._desk = Desk(engine, ServerSettings(served_model_names=served_model_names, **limits))  # type: ignore[arg-type]
        self._app = create_app(self._desk)
        self._write = write
        self._seen: set[str] = set()
        self.counts = BatchCounts()

    async def run(self, lines: Iterable[bytes], on_progress: Callable[[BatchCounts], object]) -> None:
        """Answer all lines but empty ones, which are read as they are needed.

        Raises:
            OSError: from reading or writing; what is under way is aborted.
        """
        under_way: set[asyncio.Task[dict[str, Any]]] = set()
        async with self._desk.opened():
            try:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        under_way.add(asyncio.ensure_future(self._answered(line, number)))
                    if len(under_way) >= MAX_LINES:
                        under_way = await self._settle_some(under_way, on_progress)
                while under_way:
                    under_way = await self._settle_some(under_way, on_progress)
            finally:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)

    async def _settle_some(
        self, under_way: set[asyncio.Task[dict[str, Any]]], on_progress: Callable[[BatchCounts], object]
    ) -> set[asyncio.Task[dict[str, Any]]]:
        """Write what is answered, at least one line, and return what is still under way."""
        done, rest = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        lines = [task.result() for task in done]
        self._write(b"".join(to_json(line) + b"\n" for line in lines))
        self.counts.num_done += len(lines)
        self.counts.num_failed += sum(
            line["response"] is None or line["response"]["status_code"] != _OK for line in lines
        )
        on_progress(self.counts)
        return rest

    async def _answered(self, text: bytes, number: int) -> dict[str, Any]:
        request_id = f"req_{self._desk.new_id()}"
        try:
            line = read_line(text, number)
            self._claim(line, number)
        except BatchLineError as error:
            return refusal_line(request_id, error)
        if line.body.get("stream"):
            body = error_body(BAD_REQUEST, "The lines of a batch have no streams.", param="stream")
            return answer_line(request_id, line.custom_id, BAD_REQUEST, body)
        status, answer = await call_app(self._app, line.url, to_json(line.body))
        return answer_line(request_id, line.custom_id, status, json.loads(answer))

    def _claim(self, line: BatchLine, number: int) -> None:
        if line.custom_id in self._seen:
            raise BatchLineError(
                f"Line {number}: its custom_id is that of an earlier line.",
                code="duplicate_custom_id",
                custom_id=line.custom_id,
            )
        self._seen.add(line.custom_id)
