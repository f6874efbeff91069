"""Kernels that start before the one ahead has ended: same bits as one after another, whoever their neighbours are.

Memory is handed on as soon as Python drops a tensor, so a kernel that reads too early, or writes over what the one
before it still reads, meets the values of another link of the chain.
"""

from __future__ import annotations

import functools

import pytest
import torch
from support.kernel_checks import draw

from pagednb.kernels import (
    few_rows_linear,
    paged_decode_attention,
    rms_norm,
    rope_and_cache,
    shared_prefix_attention,
    silu_and_mul,
    suffix_attention,
)
from pagednb.kernels.launch import overlap_options

pytestmark = pytest.mark.gpu

MODULES = (
    few_rows_linear,
    paged_decode_attention,
    rms_norm,
    rope_and_cache,
    shared_prefix_attention,
    silu_and_mul,
    suffix_attention,
)
HIDDEN, INTERMEDIATE, HEAD_DIM, NUM_Q_HEADS, NUM_KV_HEADS = 1024, 3072, 128, 8, 4
QKV = (NUM_Q_HEADS + 2 * NUM_KV_HEADS) * HEAD_DIM
BLOCK_SIZE, NUM_BLOCKS, PREFIX = 16, 160, 512
NUM_LAYERS, NUM_ROUNDS = 12, 40
NEIGHBOURS = ("none", "torch kernels", "copies", "cuBLAS")


class Chain:
    """Layers as a decoder has them, over one row or several, with something else between the kernels."""

    def __init__(self, device: torch.device, *, num_rows: int, neighbour: str, dtype: torch.dtype) -> None:
        make = functools.partial(draw, dtype=dtype, device=device)
        self.neighbour = neighbour
        self.x = make((num_rows, HIDDEN), seed=0)
        self.staging = torch.empty_like(self.x)
        self.weights = [
            [make(shape, seed=10 * layer + index) * shape[1] ** -0.5 for index, shape in enumerate(SHAPES)]
            for layer in range(NUM_LAYERS)
        ]
        self.norm = torch.ones(HIDDEN, dtype=dtype, device=device)
        cache_shape = (NUM_LAYERS, NUM_BLOCKS, NUM_KV_HEADS, BLOCK_SIZE, HEAD_DIM)
        self.first_cache = [make(cache_shape, seed=seed) for seed in (1, 2)]
        self.caches = [cache.clone() for cache in self.first_cache]
        # the rows share their first blocks, and write into the last slot of one of their own
        num_shared, length = PREFIX // BLOCK_SIZE, PREFIX + BLOCK_SIZE
        self.tables = torch.arange(num_shared + 1, dtype=torch.int32, device=device).repeat(num_rows, 1)
        self.tables[:, -1] = num_shared + torch.arange(num_rows, device=device)
        self.seq_lens = torch.full((num_rows,), length, dtype=torch.int32, device=device)
        self.prefix_lens = torch.full((num_rows,), PREFIX, dtype=torch.int32, device=device)
        self.positions = torch.full((num_rows,), length - 1, dtype=torch.int64, device=device)
        self.slots = self.tables[:, -1].long() * BLOCK_SIZE + BLOCK_SIZE - 1

    def run(self) -> torch.Tensor:
        """Return the last layer's output ``[num_rows, HIDDEN]``; the caches begin anew each time."""
        for cache, first in zip(self.caches, self.first_cache, strict=True):
            cache.copy_(first)
        x, residual = torch.zeros_like(self.x), self.x.clone()
        for layer in range(NUM_LAYERS):
            x = self._layer(layer, x, residual)
        return x + residual

    def _layer(self, layer: int, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        qkv_weight, out_weight, gate_up_weight, down_weight = self.weights[layer]
        k_cache, v_cache = self.caches[0][layer], self.caches[1][layer]
        x, _ = rms_norm.add_rms_norm(self._disturbed(x), residual, self.norm, 1e-6)
        qkv = few_rows_linear.linear(x, qkv_weight)
        q = rope_and_cache.rope_and_cache(
            qkv, self.positions, self.slots, k_cache, v_cache, num_q_heads=NUM_Q_HEADS, cos_sin=None
        )
        x = self._disturbed(self._attend(layer, q, k_cache, v_cache).flatten(1))
        x = few_rows_linear.linear(x, out_weight)
        x, _ = rms_norm.add_rms_norm(x, residual, self.norm, 1e-6)
        x = silu_and_mul.silu_and_mul(few_rows_linear.linear(x, gate_up_weight))
        return few_rows_linear.linear(x, down_weight)

    def _attend(self, layer: int, q: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor) -> torch.Tensor:
        inputs = (q, k_cache, v_cache, self.tables, self.seq_lens)
        options = {"scale": HEAD_DIM**-0.5, "max_seq_len": 2048}
        if layer % 2:
            return shared_prefix_attention.shared_prefix_attention(*inputs, self.prefix_lens, **options)
        return paged_decode_attention.paged_decode_attention(*inputs, **options)

    def _disturbed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same numbers, after something that knows nothing of early starts."""
        if self.neighbour == "torch kernels":
            return x + 0
        if self.neighbour == "copies":
            self.staging.copy_(x)
            return torch.empty_like(x).copy_(self.staging)
        if self.neighbour == "cuBLAS":
            return x @ torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return x


SHAPES = (
    (QKV, HIDDEN),
    (HIDDEN, NUM_Q_HEADS * HEAD_DIM),
    (2 * INTERMEDIATE, HIDDEN),
    (HIDDEN, INTERMEDIATE),
)


@pytest.fixture
def chain(request: pytest.FixtureRequest) -> Chain:
    num_rows, neighbour = request.param
    device = torch.device("cuda", torch.cuda.current_device())
    if not overlap_options(device):
        pytest.skip("this GPU starts no kernel early")
    return Chain(device, num_rows=num_rows, neighbour=neighbour, dtype=torch.bfloat16)


CASES = [(num_rows, neighbour) for num_rows in (1, 48) for neighbour in NEIGHBOURS]


def in_turn(chain: Chain) -> torch.Tensor:
    """Return the output of the chain with every kernel after the one ahead."""
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "overlap_options", lambda device: {})
        return chain.run().clone()


@torch.inference_mode()
@pytest.mark.parametrize("chain", CASES, ids=str, indirect=True)
def test_launched_one_by_one(chain: Chain) -> None:
    expected = in_turn(chain)
    assert expected.isfinite().all()
    outputs = [chain.run() for _ in range(NUM_ROUNDS)]  # queued: the device is never waited for
    assert all(torch.equal(output, expected) for output in outputs)


@torch.inference_mode()
@pytest.mark.parametrize("chain", CASES, ids=str, indirect=True)
def test_as_a_graph_with_its_inputs_sent_between_replays(chain: Chain) -> None:
    inputs = [draw(tuple(chain.x.shape), chain.x.dtype, torch.device("cpu"), seed=seed).pin_memory() for seed in (3, 4)]
    expected = []
    for host in inputs:
        chain.x.copy_(host)
        expected.append(in_turn(chain))
    chain.run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = chain.run()
    outputs = []
    for index in range(NUM_ROUNDS):  # as the runner does: the next inputs while the last replay may still run
        chain.x.copy_(inputs[index % 2], non_blocking=True)
        graph.replay()
        outputs.append(captured.clone())
    assert all(torch.equal(output, expected[index % 2]) for index, output in enumerate(outputs))
