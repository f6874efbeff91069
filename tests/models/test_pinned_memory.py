"""Unpinning host memory, by stand-ins of CUDA; what pinning does is tested on a GPU."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from pagednb.models.pinned_memory import pin


class Cuda:
    """Notes what it is asked, in order."""

    def __init__(self, *, is_lost: bool) -> None:
        self.asked: list[str] = []
        self.device = "cuda:0"
        self._is_lost = is_lost

    def cudaHostRegister(self, *_: Any) -> int:
        self.asked.append("pin")
        return 0

    def synchronize(self) -> None:
        self.asked.append("wait")
        if self._is_lost:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)

    def cudaHostUnregister(self, *_: Any) -> int:
        self.asked.append("unpin")
        return 0


@pytest.mark.parametrize(("is_lost", "asked"), [(False, ["pin", "wait", "unpin"]), (True, ["pin", "wait"])])
def test_it_goes_with_its_owner_and_prints_nothing(
    is_lost: bool, asked: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cuda = Cuda(is_lost=is_lost)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    owner = type("Owner", (), {})()
    assert pin(torch.zeros(4), cuda, owner=owner) == 0  # type: ignore[arg-type]  # it is asked no more of a stream
    assert cuda.asked == ["pin"]
    del owner
    assert cuda.asked == asked
    assert capfd.readouterr() == ("", "")
