"""What distinguishes one decoder from another, as data: the one decoder in ``decoder.py`` is driven by it.

Each architecture file makes a ``DecoderSpec`` from a Hugging Face config. Nothing here knows files, devices or weights.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pagednb.errors import UnsupportedArchitectureError
from pagednb.layers.mlp import Activation
from pagednb.layers.rotary import RopeSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """Shape and wiring of one decoder-only model.

    Attributes:
        embedding_size: width of the token embedding; other than ``hidden_size`` it is projected in and out.
        max_position_embeddings: longest context the model is made for, rope scaling included.
        layer_windows: sliding window of each layer; None sees the whole context.
        attention_scale: factor on the attention scores.
        rope: None for models with learned positions.
        position_offset: learned positions: row of the table that holds position 0. None without such a table.
        gated_mlp: ``down(silu(gate) * up)`` rather than ``down(activation(up))``.
        norm_placement: "pre" normalises a block's input, "post" the sum after it.
        norm_has_affine, norm_has_bias: whether norms have a weight, and a bias beside it.
        tie_embeddings: the token embedding is also the output head.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int

    embedding_size: int
    position_offset: int | None = None
    tie_embeddings: bool = False

    layer_windows: tuple[int | None, ...]
    attention_scale: float
    rope: RopeSpec | None = None
    qkv_bias: bool = False
    attention_out_bias: bool = False
    has_qk_norm: bool = False

    gated_mlp: bool = True
    activation: Activation = "silu"
    mlp_bias: bool = False

    norm: Literal["rms", "layer"] = "rms"
    norm_eps: float
    norm_placement: Literal["pre", "post"] = "pre"
    norm_has_affine: bool = True
    has_final_norm: bool = True

    def __post_init__(self) -> None:
        if self.num_q_heads % self.num_kv_heads:
            raise UnsupportedArchitectureError(
                f"The model's config has {self.num_q_heads} query heads for {self.num_kv_heads} KV heads.",
                hint="Correct its config.json.",
            )
        assert len(self.layer_windows) == self.num_layers, (self.layer_windows, self.num_layers)

    @property
    def sliding_window(self) -> int | None:
        """Number of keys after which no layer looks back any further; None when a layer sees the whole context."""
        windows = [window for window in self.layer_windows if window is not None]
        return max(windows) if len(windows) == self.num_layers else None
