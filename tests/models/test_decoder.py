"""The decoder against transformers: equal logits in fp32, however a sequence is cut into chunks and steps."""

from __future__ import annotations

import pathlib

import pytest
import torch
import transformers
from support.hand_batches import HandBatches
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_model

from pagednb.config import EngineConfig
from pagednb.kernels.kernel_set import torch_kernels
from pagednb.models.decoder import Decoder
from pagednb.models.load import load_model
from pagednb.models.resolve import resolve_model

MAX_RMS_RATIO = 1e-5  # fp32: a few hundred roundings of 6e-8 each
LENGTHS = (23, 37, 9)
VARIANTS = {
    **{name: (name, {}) for name in ARCHITECTURES},
    "llama: linear rope": ("llama2", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}}),
    "llama: yarn": (
        "llama2",
        {
            "max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "mistral: no window": ("mistral", {"sliding_window": None, "head_dim": None}),
    "qwen2: window in later layers": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3: biases, window by layer": (
        "qwen3",
        {
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "gpt2: own inner size, gelu, unscaled": (
        "gpt2",
        {"n_inner": 100, "activation_function": "gelu", "scale_attn_weights": False, "tie_word_embeddings": False},
    ),
    "opt: no biases, no affine norms": (
        "opt",
        {"enable_bias": False, "layer_norm_elementwise_affine": False, "activation_function": "gelu"},
    ),
    "opt: no final norm": ("opt", {"_remove_final_layer_norm": True}),
    "opt-350m: untied": ("opt-350m", {"tie_word_embeddings": False}),
}


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Decoder, torch.nn.Module]:
    name, overrides = VARIANTS[request.param]
    folder = tiny_model(
        name, tmp_path_factory.mktemp("model"), gain=1.5, **overrides
    )  # rounding stays far below the bound
    return load(folder), transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def load(folder: pathlib.Path) -> Decoder:
    config = EngineConfig(model=folder, device="cpu")
    return load_model(resolve_model(config), config, torch_kernels())


def random_sequences() -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(3, VOCAB_SIZE, (length,), generator=generator).tolist() for length in LENGTHS]


def expected_logits(model: torch.nn.Module, sequences: list[list[int]]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [model(torch.tensor([sequence])).logits[0] for sequence in sequences]


def rms_ratio(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((mine - theirs).square().mean().sqrt() / theirs.square().mean().sqrt())


class Comparison:
    """Runs batches through a decoder and compares every sampled row with transformers' full forward."""

    def __init__(self, decoder: Decoder, model: torch.nn.Module) -> None:
        sequences = random_sequences()
        self._decoder = decoder
        self.expected = expected_logits(model, sequences)
        self._batches = HandBatches(decoder.spec, sequences)

    def step(self, **pieces: object) -> list[tuple[int, int]]:
        batch, places = self._batches.next_batch(**pieces)
        with torch.inference_mode():
            hidden = self._decoder.forward(batch, self._batches.kv)
            logits = self._decoder.compute_logits(hidden)
        assert hidden.shape == (len(places), self._decoder.spec.hidden_size)
        assert logits.shape == (len(places), VOCAB_SIZE) and logits.dtype == torch.float32
        if places:
            theirs = torch.stack([self.expected[seq][position] for seq, position in places])
            assert rms_ratio(logits, theirs) < MAX_RMS_RATIO
        return places


def test_one_prefill_gives_the_logits_of_transformers(pair: tuple[Decoder, torch.nn.Module]) -> None:
    places = Comparison(*pair).step(chunks=list(enumerate(LENGTHS)), sample_all=True)
    assert len(places) == sum(LENGTHS)


def test_chunks_decodes_and_their_mixture_give_the_same_logits(pair: tuple[Decoder, torch.nn.Module]) -> None:
    comparison = Comparison(*pair)
    assert comparison.step(chunks=[(0, 7), (1, 13)]) == []  # nothing is sampled yet
    comparison.step(chunks=[(2, 5), (0, 1)], sample_all=True)
    comparison.step(decodes=[2, 0], chunks=[(1, 11)])
    assert comparison.step(decodes=[0, 2], chunks=[(1, 13)]) == [(0, 9), (2, 6), (1, 36)]
    comparison.step(decodes=[0, 2])
    assert comparison.step(decodes=[2], chunks=[(0, 12)]) == [(2, 8), (0, 22)]


def test_the_comparison_can_fail(pair: tuple[Decoder, torch.nn.Module]) -> None:
    decoder, model = pair
    comparison = Comparison(decoder, model)
    comparison.expected = [logits * 1.0001 for logits in comparison.expected]
    with pytest.raises(AssertionError):
        comparison.step(chunks=[(0, 23)])


def test_a_batch_computes_what_each_sequence_computes_alone(tmp_path: pathlib.Path) -> None:
    decoder = load(tiny_model("llama3.1", tmp_path))
    sequences = random_sequences()
    together = HandBatches(decoder.spec, sequences)
    batch, _ = together.next_batch(chunks=list(enumerate(LENGTHS)))
    with torch.inference_mode():
        rows = decoder.forward(batch, together.kv)
        for sequence, row in zip(sequences, rows, strict=True):
            alone = HandBatches(decoder.spec, [sequence], block_size=16)
            single, _ = alone.next_batch(chunks=[(0, len(sequence))])
            torch.testing.assert_close(decoder.forward(single, alone.kv)[0], row, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_close_to_transformers(tmp_path: pathlib.Path) -> None:
    folder = tiny_model("qwen3", tmp_path)
    config = EngineConfig(model=folder, device="cpu", dtype="bfloat16")
    decoder = load_model(resolve_model(config), config, torch_kernels())
    sequences = random_sequences()
    batches = HandBatches(decoder.spec, sequences, dtype=torch.bfloat16)
    batch, _ = batches.next_batch(chunks=list(enumerate(LENGTHS)), sample_all=True)
    with torch.inference_mode():
        logits = decoder.compute_logits(decoder.forward(batch, batches.kv))
    exact = expected_logits(transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), sequences)
    assert logits.dtype == torch.bfloat16
    assert rms_ratio(logits.float(), torch.cat(exact)) < 0.1  # sharp attention amplifies roundings of 4e-3
