"""The rotary table against transformers' own, for every supported rope type."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from pagednb.errors import ModelLoadError, UnsupportedArchitectureError
from pagednb.layers.rotary import ROPE_TYPES, cos_sin_table
from pagednb.models.rope_config import longest_context, read_rope

HEAD_DIM = 16
NUM_POSITIONS = 400
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 100,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 100}
ROPES = {
    "default": {"rope_type": "default"},
    "dynamic within the trained length": {"rope_type": "dynamic", "factor": 2.0},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "llama3": {"rope_type": "llama3", **LLAMA3},
    "yarn": {"rope_type": "yarn", **YARN},
    "yarn, all settings": {"rope_type": "yarn", **YARN, "beta_fast": 24.0, "beta_slow": 2.0, "attention_factor": 1.3},
    "yarn, mscale": {"rope_type": "yarn", **YARN, "mscale": 0.7, "mscale_all_dim": 1.1, "truncate": False},
}


def config_with(rope: dict[str, object], **settings: object) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(
        hidden_size=4 * HEAD_DIM,
        num_attention_heads=4,
        max_position_embeddings=NUM_POSITIONS,
        rope_parameters={"rope_theta": 500.0, **rope},
        **settings,
    )


@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES)
def test_table_equals_transformers(rope: dict[str, object]) -> None:
    config = config_with(rope)
    positions = torch.arange(NUM_POSITIONS)
    theirs = LlamaRotaryEmbedding(config)(torch.zeros(1), positions[None])
    cos, sin = cos_sin_table(read_rope(config, HEAD_DIM), NUM_POSITIONS, torch.device("cpu")).chunk(2, dim=-1)
    # transformers repeats the halves; angles up to 400 rad carry fp32 roundings of 3e-5
    torch.testing.assert_close(torch.cat((cos, cos), dim=-1), theirs[0][0], rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.cat((sin, sin), dim=-1), theirs[1][0], rtol=0, atol=1e-4)


def test_every_rope_type_is_compared() -> None:
    assert {rope["rope_type"] for rope in ROPES.values()} == set(ROPE_TYPES)


def test_scaled_tables_differ_from_the_default() -> None:
    tables = {
        name: cos_sin_table(read_rope(config_with(rope), HEAD_DIM), NUM_POSITIONS, torch.device("cpu"))
        for name, rope in ROPES.items()
    }
    plain = tables.pop("default")
    assert torch.equal(tables.pop("dynamic within the trained length"), plain)
    assert all((table - plain).abs().max() > 0.5 for table in tables.values())


def test_unknown_rope_types_are_refused_by_name() -> None:
    config = config_with({})
    config.rope_parameters = {"rope_type": "longrope", "rope_theta": 1e4}
    with pytest.raises(UnsupportedArchitectureError, match=r"'longrope'.*default, dynamic, linear, llama3, yarn"):
        read_rope(config, HEAD_DIM)


def test_partial_rotation_is_refused() -> None:
    config = config_with({})
    config.rope_parameters["partial_rotary_factor"] = 0.5
    with pytest.raises(UnsupportedArchitectureError, match="partial_rotary_factor"):
        read_rope(config, HEAD_DIM)


def test_a_missing_number_is_named() -> None:
    config = config_with({})
    config.rope_parameters = {"rope_type": "linear", "rope_theta": 1e4}
    with pytest.raises(ModelLoadError, match="'factor'"):
        read_rope(config, HEAD_DIM)


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "default"}, 400),
        ({"rope_type": "dynamic", "factor": 2.0}, 400),
        ({"rope_type": "linear", "factor": 2.0}, 800),
        ({"rope_type": "llama3", **LLAMA3}, 400),
        ({"rope_type": "yarn", **YARN}, 400),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 400}, 1600),
    ],
)
def test_longest_context(rope: dict[str, object], length: int) -> None:
    config = config_with(rope)
    assert longest_context(config, read_rope(config, HEAD_DIM)) == length
