"""The tensors that a decoder stores, as a table: what loading allocates and fills, and ``decoder.py`` picks by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pagednb.layers.linear import UnquantizedMethod
from pagednb.models.spec import DecoderSpec


class ParameterSlot(NamedTuple):
    """One stored tensor.

    Attributes:
        module: name of the module it belongs to, such as ``layers.0.qkv``.
        kind: name within the module, such as ``weight``.
        shape: shape in memory.
        parts: rows (dimension 0) of each of the matrices fused in it, in order.
        initial: what dummy weights put there.
    """

    module: str
    kind: str
    shape: tuple[int, ...]
    parts: tuple[int, ...]
    initial: Literal["normal", "ones", "zeros"]

    @property
    def name(self) -> str:
        """Full name, such as ``layers.0.qkv.weight``."""
        return f"{self.module}.{self.kind}"

    @property
    def layer(self) -> int | None:
        """Number of the decoder layer that it belongs to; None outside the layers."""
        folder, _, rest = self.module.partition(".")
        return int(rest.partition(".")[0]) if folder == "layers" else None

    def of_layer(self, index: int) -> ParameterSlot:
        """Return the same tensor's slot in decoder layer ``index``, for a slot of any of them."""
        inner = self.module.split(".", 2)[2]
        return self._replace(module=f"layers.{index}.{inner}")


def parameter_slots(spec: DecoderSpec, method: UnquantizedMethod) -> tuple[ParameterSlot, ...]:
    """Return every tensor of the decoder, in the order of the forward pass."""
    return tuple(_slots(spec, method))


def _slots(spec: DecoderSpec, method: UnquantizedMethod) -> Iterator[ParameterSlot]:
    hidden, width = spec.hidden_size, spec.embedding_size
    yield _matrix("embed_tokens", spec.vocab_size, width)
    if spec.position_offset is not None:
        yield _matrix("embed_positions", spec.max_position_embeddings + spec.position_offset, hidden)
    if width != hidden:
        yield from _linear(method, "project_in", width, (hidden,))
    for index in range(spec.num_layers):
        yield from _layer(spec, method, f"layers.{index}")
    if spec.has_final_norm:
        yield from _norm(spec, "final_norm")
    if width != hidden:
        yield from _linear(method, "project_out", hidden, (width,))
    if not spec.tie_embeddings:
        yield _matrix("lm_head", spec.vocab_size, width)


def _layer(spec: DecoderSpec, method: UnquantizedMethod, layer: str) -> Iterator[ParameterSlot]:
    hidden, inner = spec.hidden_size, spec.intermediate_size
    query, key = spec.num_q_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    yield from _norm(spec, f"{layer}.attention_norm")
    yield from _linear(method, f"{layer}.qkv", hidden, (query, key, key), has_bias=spec.qkv_bias)
    if spec.has_qk_norm:
        for name in ("q_norm", "k_norm"):
            yield _vector(f"{layer}.{name}", "weight", spec.head_dim, "ones")
    yield from _linear(method, f"{layer}.attention_out", query, (hidden,), has_bias=spec.attention_out_bias)
    yield from _norm(spec, f"{layer}.mlp_norm")
    if spec.gated_mlp:
        yield from _linear(method, f"{layer}.gate_up", hidden, (inner, inner), has_bias=spec.mlp_bias)
    else:
        yield from _linear(method, f"{layer}.up", hidden, (inner,), has_bias=spec.mlp_bias)
    yield from _linear(method, f"{layer}.down", inner, (hidden,), has_bias=spec.mlp_bias)


def _linear(
    method: UnquantizedMethod, module: str, in_features: int, parts: tuple[int, ...], *, has_bias: bool = False
) -> Iterator[ParameterSlot]:
    for kind, shape in method.create(in_features, sum(parts), has_bias=has_bias).items():
        yield ParameterSlot(module, kind, shape, parts, "zeros" if kind == "bias" else "normal")


def _norm(spec: DecoderSpec, module: str) -> Iterator[ParameterSlot]:
    if spec.norm_has_affine:
        yield _vector(module, "weight", spec.hidden_size, "ones")
        if spec.norm == "layer":
            yield _vector(module, "bias", spec.hidden_size, "zeros")


def _matrix(module: str, rows: int, columns: int) -> ParameterSlot:
    return ParameterSlot(module, "weight", (rows, columns), (rows,), "normal")


def _vector(module: str, kind: str, size: int, initial: Literal["ones", "zeros"]) -> ParameterSlot:
    return ParameterSlot(module, kind, (size,), (size,), initial)
