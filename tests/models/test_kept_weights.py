"""Weights in host memory are read like those of any file; what lies there already is not copied."""

from __future__ import annotations

import pytest
import torch

from pagednb.models import staging
from pagednb.models.kept_weights import KeptWeights
from pagednb.models.staging import cut, reading

CPU = torch.device("cpu")
SHAPES = {"embed.weight": (131, 96), "norm.weight": (97,), "qkv.weight": (3, 7), "one": (1, 1)}


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=str)
def weights(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator).to(request.param) for name, shape in SHAPES.items()}


def test_what_lies_on_the_host_is_kept_as_it_is(weights: dict[str, torch.Tensor]) -> None:
    kept = KeptWeights.of(weights)
    assert kept.num_bytes == sum(tensor.nbytes for tensor in weights.values())
    assert kept.num_bytes_to_copy(CPU) == 0 and kept.num_bytes_to_copy(torch.device("cuda", 0)) == kept.num_bytes
    here = kept.lying_on(CPU)
    assert all(here[name] is tensor for name, tensor in weights.items()) and kept.lying_on(torch.device("meta")) == {}


@pytest.mark.parametrize("buffer_bytes", [100, 1000, 2**20])
@pytest.mark.parametrize("as_dtype", [None, torch.float64], ids=["direct", "through a buffer"])
def test_kept_weights_are_read_as_a_file_is(
    weights: dict[str, torch.Tensor],
    buffer_bytes: int,
    as_dtype: torch.dtype | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staging, "_BUFFER_BYTES", buffer_bytes)
    kept = KeptWeights.of(weights)
    there = {name: torch.zeros_like(tensor, dtype=as_dtype) for name, tensor in weights.items()}
    reports: list[tuple[int, int]] = []
    pieces = [piece for name, tensor in there.items() for piece in cut(kept.tensors[name], tensor)]
    with reading(pieces, CPU, lambda *report: reports.append(report)):
        pass
    assert all(torch.equal(there[name], tensor.to(there[name].dtype)) for name, tensor in weights.items())
    assert reports[-1] == (kept.num_bytes, kept.num_bytes) and len(reports) == len(pieces)
