"""Sends requests over plain sockets, all at once, and prints what came back: ``python http_client.py FILE``.

A process of its own, so that the client's work takes nothing from the server's interpreter. FILE holds JSON: host,
port, path and bodies. Prints one line of JSON: seconds in all, and for each request the status, seconds to its first
byte and to its end, the events of a stream and the size of the answer.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
import time
from typing import Any


class Exchange(asyncio.Protocol):
    """One request and its answer, in one piece or chunked; the connection closes behind it."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answer = bytearray()
        self.first_s = self.end_s = 0.0

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.answer:
            self.first_s = time.perf_counter()
        self.answer += data

    def connection_lost(self, error: Exception | None) -> None:
        self.end_s = time.perf_counter()
        self.done.set_result(None)


def request_bytes(path: str, body: dict[str, Any]) -> bytes:
    """Return a POST request that asks for the connection to be closed."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Send everything and wait for all answers."""
    loop = asyncio.get_running_loop()
    requests = [request_bytes(job["path"], body) for body in job["bodies"]]
    begin_s = time.perf_counter()
    connections = [
        loop.create_connection(lambda request=request: Exchange(request), job["host"], job["port"])
        for request in requests
    ]
    exchanges = [exchange for _, exchange in await asyncio.gather(*connections)]
    await asyncio.gather(*(exchange.done for exchange in exchanges))
    seconds = max(exchange.end_s for exchange in exchanges) - begin_s
    return {
        "seconds": seconds,
        "client_cpu_s": time.process_time(),
        "answers": [
            {
                "status": int(exchange.answer[9:12] or 0),
                "first_s": exchange.first_s - begin_s,
                "end_s": exchange.end_s - begin_s,
                "events": exchange.answer.count(b"data: "),
                "bytes": len(exchange.answer),
            }
            for exchange in exchanges
        ],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(pathlib.Path(sys.argv[1]).read_text())))))
