"""A forward pass reads no value back from the device, so that it can be captured in a CUDA graph.

Proved on torch's meta device, where tensors have shapes and no values: any ``.item()``, ``.tolist()`` or shape that
depends on data raises.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_config

from pagednb.config import CacheGeometry
from pagednb.forward_batch import ForwardBatch
from pagednb.kernels.kernel_set import KernelSet
from pagednb.kv_cache.kv_store import KVStore
from pagednb.layers.linear import UnquantizedMethod
from pagednb.models.decoder import Decoder
from pagednb.models.model_settings import read_settings
from pagednb.models.parameters import parameter_slots
from pagednb.models.registry import ARCHITECTURES as REGISTRY
from pagednb.models.registry import find_architecture

META = torch.device("meta")


def shape_kernels() -> KernelSet:
    """Ops of the decoder that give tensors of the right shape; the others fail."""

    def unused(*tensors, **settings):
        pytest.fail("not an op of the decoder")

    def rope_and_cache(qkv, positions, slot_mapping, k_cache, v_cache, *, num_q_heads, **settings):
        return qkv.new_empty(qkv.shape[0], num_q_heads, k_cache.shape[3])

    ops = {
        "linear": F.linear,
        "rms_norm": lambda x, weight, eps: torch.empty_like(x),
        "add_rms_norm": lambda x, residual, weight, eps: (torch.empty_like(x), residual),
        "silu_and_mul": lambda x: x.new_empty(x.shape[0], x.shape[1] // 2),
        "rope_and_cache": rope_and_cache,
        "paged_prefill_attention": lambda q, *cache, **settings: torch.empty_like(q),
        "paged_decode_attention": lambda q, *cache, **settings: torch.empty_like(q),
    }
    return KernelSet(**{field.name: ops.get(field.name, unused) for field in dataclasses.fields(KernelSet)})


def meta_batch(*, num_decodes: int, chunk: int, num_sampled: int) -> ForwardBatch:
    num_tokens, num_seqs = num_decodes + chunk, num_decodes + bool(chunk)
    int32 = {"dtype": torch.int32, "device": META}
    int64 = {"dtype": torch.int64, "device": META}
    return ForwardBatch(
        input_ids=torch.empty(num_tokens, **int64),
        positions=torch.empty(num_tokens, **int64),
        slot_mapping=torch.empty(num_tokens, **int64),
        query_start_loc=torch.empty(num_seqs + 1, **int32),
        seq_lens=torch.empty(num_seqs, **int32),
        block_tables=torch.empty(num_seqs, 4, **int32),
        sample_indices=torch.empty(num_sampled, **int64),
        num_decodes=num_decodes,
        max_query_len=chunk,
        max_seq_len=64,
    )


@pytest.mark.parametrize(
    "batch",
    [
        meta_batch(num_decodes=5, chunk=0, num_sampled=5),
        meta_batch(num_decodes=3, chunk=9, num_sampled=4),
        meta_batch(num_decodes=0, chunk=9, num_sampled=0),
    ],
    ids=["decodes", "mixed", "nothing sampled"],
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shapes_are_known_without_values(architecture: str, batch: ForwardBatch) -> None:
    raw = tiny_config(architecture).to_dict()
    entry = find_architecture({"model_type": raw["model_type"]})
    spec = entry.build_spec(read_settings(entry.settings, raw))
    method = UnquantizedMethod()
    tensors = {slot.name: torch.empty(slot.shape, device=META) for slot in parameter_slots(spec, method)}
    decoder = Decoder(spec, tensors, shape_kernels(), method, num_positions=64)
    geometry = CacheGeometry(num_blocks=8, block_size=16, max_model_len=64)
    kv = KVStore(spec.num_layers, spec.num_kv_heads, spec.head_dim, geometry, dtype=torch.float32, device=META)
    hidden = decoder.forward(batch, kv)
    num_sampled = batch.sample_indices.shape[0]
    assert hidden.shape == (num_sampled, spec.hidden_size)
    logits = decoder.compute_logits(hidden)
    assert logits.shape == (num_sampled, VOCAB_SIZE) and logits.dtype == torch.float32


def test_every_architecture_of_ours_has_a_tiny_model() -> None:
    kinds = {tiny_config(name).model_type for name in ARCHITECTURES}
    assert kinds == {architecture.model_type for architecture in REGISTRY.values()}
