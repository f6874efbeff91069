"""How long a server takes from the start of its process to its first healthy answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import NamedTuple

MAX_WAIT_S = 300.0


class StartTimes(NamedTuple):
    """Seconds from the start of the process to ``/health`` 200, and to the end of a first request of one token."""

    healthy_s: float
    first_token_s: float


def time_start(model: str, *, device: str) -> StartTimes:
    """Start ``pagednb serve`` with random weights, ask, and end it."""
    flags = ["--port", "0", "--load-format", "dummy", *([] if device == "auto" else ["--device", device])]
    begin_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "pagednb", "serve", model, *flags], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
            while not _is_healthy(url):
                assert time.perf_counter() - begin_s < MAX_WAIT_S, "it never became ready"
                time.sleep(0.005)
            healthy_s = time.perf_counter() - begin_s
            body = json.dumps({"prompt": [1, 2, 3], "max_tokens": 1}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{url}/v1/completions", data=body, headers=headers)
            urllib.request.urlopen(request, timeout=MAX_WAIT_S).read()
            return StartTimes(healthy_s, time.perf_counter() - begin_s)
        finally:
            server.terminate()


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False
