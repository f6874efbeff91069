"""The one decoder: embedding, layers, final norm and output head, wired by a ``DecoderSpec``.

Tensors come in by the names of ``parameters.py``; batch and KV store come down with each call, and nothing is kept
between calls. No step depends on values on the device, so a decode batch can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from pagednb.attention.paged_attention import PagedAttention
from pagednb.forward_batch import ForwardBatch
from pagednb.kernels.kernel_set import KernelSet
from pagednb.kv_cache.kv_store import KVStore
from pagednb.layers.linear import Linear, UnquantizedMethod
from pagednb.layers.mlp import GatedMLP, PlainMLP
from pagednb.layers.norm import LayerNorm, Norm, RMSNorm
from pagednb.layers.rotary import cos_sin_table
from pagednb.layers.self_attention import HeadPreparation, SelfAttention
from pagednb.models.decoder_layer import DecoderLayer, PostNormLayer, PreNormLayer
from pagednb.models.offloaded_layers import OffloadedLayers
from pagednb.models.spec import DecoderSpec


class Decoder:
    """A decoder-only model over a paged KV cache. Call under ``torch.inference_mode``.

    ``tensors`` are its weights, by the names of ``parameters.py``.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        tensors: Mapping[str, torch.Tensor],
        kernels: KernelSet,
        method: UnquantizedMethod,
        *,
        num_positions: int,
        offloaded: OffloadedLayers | None = None,
    ) -> None:
        """Wire the layers.

        Args:
            spec: the model.
            tensors: every tensor that ``parameter_slots(spec, method)`` names, on one device but for those offloaded.
            kernels: the ops.
            method: how linears store and apply their weights.
            num_positions: longest context, for the rotary table.
            offloaded: the layers whose ``tensors`` are in host memory; None when there are none.
        """
        computed = tensors if offloaded is None else {**tensors, **offloaded.computed}
        assembly = _Assembly(spec, computed, kernels, method, num_positions)
        self.spec = spec
        self.tensors = tensors
        self._embed_tokens = tensors["embed_tokens.weight"]
        self._embed_positions = tensors.get("embed_positions.weight")
        self._project_in = assembly.optional_linear("project_in")
        self._offloaded = offloaded
        self._layers = [assembly.layer(index) for index in range(spec.num_layers)]
        if offloaded is not None:
            self._layers = [offloaded.streamed(index, layer) for index, layer in enumerate(self._layers)]
        self._final_norm = assembly.norm("final_norm") if spec.has_final_norm else None
        self._project_out = assembly.optional_linear("project_out")
        self._linear = kernels.linear
        self._lm_head = self._embed_tokens if spec.tie_embeddings else tensors["lm_head.weight"]

    @property
    def num_bytes(self) -> int:
        """Memory of the weights, wherever they live."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def num_offloaded_bytes(self) -> int:
        """Memory of the weights that live on the host and are streamed to the device."""
        return 0 if self._offloaded is None else sum(tensor.nbytes for tensor in self._offloaded.stored.values())

    def forward(self, batch: ForwardBatch, kv: KVStore) -> torch.Tensor:
        """Write K and V of all tokens and return ``[num_sampled, hidden]``, final-normed, at ``batch.sample_indices``.

        The last layer computes only those rows beyond its K and V: no later layer would read the others.
        """
        if self._offloaded is not None:
            self._offloaded.begin()
        hidden = self._embed(batch)  # [num_tokens, hidden]
        residual: torch.Tensor | None = None
        only_sampled = batch.sample_indices.shape[0] < batch.input_ids.shape[0]
        for index, layer in enumerate(self._layers):
            is_last = index == len(self._layers) - 1
            hidden, residual = layer(hidden, residual, kv.layer(index), batch, only_sampled=only_sampled and is_last)
        if self._final_norm is None:
            return hidden if residual is None else hidden + residual
        assert residual is not None, "a final norm comes with pre-norm layers"
        return self._final_norm.add(hidden, residual)[0]

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``[num_sampled, vocab]``, in the model's dtype, for what ``forward`` returned."""
        if self._project_out is not None:
            hidden = self._project_out(hidden)
        logits: torch.Tensor = self._linear(hidden, self._lm_head)
        return logits

    def _embed(self, batch: ForwardBatch) -> torch.Tensor:
        hidden = F.embedding(batch.input_ids, self._embed_tokens)
        if self._project_in is not None:
            hidden = self._project_in(hidden)
        if self._embed_positions is None:
            return hidden
        assert self.spec.position_offset is not None
        return hidden + F.embedding(batch.positions + self.spec.position_offset, self._embed_positions)


class _Assembly:
    """Picks tensors by module name and makes layers of them."""

    def __init__(
        self,
        spec: DecoderSpec,
        tensors: Mapping[str, torch.Tensor],
        kernels: KernelSet,
        method: UnquantizedMethod,
        num_positions: int,
    ) -> None:
        self._spec = spec
        self._modules: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            module, _, kind = name.rpartition(".")
            self._modules.setdefault(module, {})[kind] = tensor
        self._kernels = kernels
        self._method = method
        device = tensors["embed_tokens.weight"].device
        self._cos_sin = None if spec.rope is None else cos_sin_table(spec.rope, num_positions, device)

    def linear(self, module: str) -> Linear:
        return Linear(self._modules[module], self._method)

    def optional_linear(self, module: str) -> Linear | None:
        return self.linear(module) if module in self._modules else None

    def norm(self, module: str) -> Norm:
        tensors = self._modules.get(module, {})
        if self._spec.norm == "rms":
            return RMSNorm(tensors["weight"], self._spec.norm_eps, self._kernels)
        return LayerNorm(tensors.get("weight"), tensors.get("bias"), self._spec.norm_eps)

    def layer(self, index: int) -> DecoderLayer:
        kind = PreNormLayer if self._spec.norm_placement == "pre" else PostNormLayer
        name = f"layers.{index}"
        return kind(
            self.norm(f"{name}.attention_norm"), self._attention(index), self.norm(f"{name}.mlp_norm"), self._mlp(name)
        )

    def _attention(self, index: int) -> SelfAttention:
        spec, name = self._spec, f"layers.{index}"
        heads = HeadPreparation(
            cos_sin=self._cos_sin,
            q_norm_weight=self._modules.get(f"{name}.q_norm", {}).get("weight"),
            k_norm_weight=self._modules.get(f"{name}.k_norm", {}).get("weight"),
            eps=spec.norm_eps,
        )
        return SelfAttention(
            self.linear(f"{name}.qkv"),
            self.linear(f"{name}.attention_out"),
            PagedAttention(self._kernels, scale=spec.attention_scale, sliding_window=spec.layer_windows[index]),
            self._kernels,
            num_q_heads=spec.num_q_heads,
            heads=heads,
        )

    def _mlp(self, layer: str) -> GatedMLP | PlainMLP:
        down = self.linear(f"{layer}.down")
        if self._spec.gated_mlp:
            return GatedMLP(self.linear(f"{layer}.gate_up"), down, self._kernels)
        return PlainMLP(self.linear(f"{layer}.up"), down, self._spec.activation)
