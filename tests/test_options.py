"""Options of engine and sampling: every wrong value is refused with its name, whatever its type."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from pagednb.config import EngineConfig
from pagednb.errors import NotSupportedYetError, OptionError, SchemaError
from pagednb.sampling_params import GuidedDecodingParams, SamplingParams, StructuredOutputsParams
from pagednb.vllm_options import CHOSEN_BY_THE_ENGINE, NOT_BUILT_YET, NOT_IN_SAMPLING, NOT_IN_STRUCTURED_OUTPUTS

WRONG = object()
WRONG_ENGINE_VALUES: dict[str, list[Any]] = {
    "model": [5, b"folder"],
    "served_model_name": [5, "", ["a", 5]],
    "tokenizer": [5],
    "download_dir": [True],
    "revision": [5],
    "device": [0, None],
    "dtype": [None, "int8", ["auto"]],
    "load_format": [None, "npz"],
    "block_size": [16.5, 12, True, [16], None],
    "swap_space": [-1, "4", float("nan"), float("inf"), True],
    "preemption_mode": ["swapping", 0, True],
    "gpu_memory_utilization": ["0.5", 0, 1.5, float("nan"), True],
    "cpu_offload_gb": ["4", -1, float("inf"), float("nan"), True, None],
    "max_model_len": ["9", 0, 2.5, True],
    "num_gpu_blocks_override": [0, 1.5],
    "max_num_seqs": [0, 2**16 + 1, "8"],
    "max_num_batched_tokens": [-1],
    "seed": [None, 1.5, 2**64, False],
    "enable_prefix_caching": ["no", None, 1],
    "enable_shared_prefix_attention": [1],
    "enforce_eager": [None],
    "skip_tokenizer_init": ["false"],
}
WRONG_SAMPLING_VALUES: dict[str, list[Any]] = {
    "n": [0, 1.0, True, 10**9, "2"],
    "temperature": [-1, float("nan"), float("inf"), 10**400, "0", None, False],
    "top_p": [0, 1.1, "x", None],
    "top_k": [-2, 2**31, "5", 2.5, None, np.array([1, 2])],
    "min_p": [-0.1, 2],
    "presence_penalty": [3, None],
    "frequency_penalty": [-3],
    "repetition_penalty": [0, -1],
    "seed": [2**64, 1.5, True],
    "max_tokens": [0, 2.5, "9"],
    "min_tokens": [-1, 17, None],
    "stop": [5, "", ["a", None], [""], {"a": 1}, np.array(3), "\ud800"],
    "stop_token_ids": [5, [-1], ["a"], "12", b"12", {1: 2}, np.array(3)],
    "logprobs": [-1, 21, True],
    "prompt_logprobs": [-1, 21, True],
    "logprob_token_ids": [5, "12", [], [-1], ["a"], [True], [2.5], list(range(65))],
    "best_of": [0, "3", True, 10**9],
    "allowed_token_ids": [[], 5, "12", [-1], [True], [2.5]],
    "bad_words": ["word", [5], [" "], 3, ["\ud800"]],
    "logits_processors": [5, ["x"], "ab"],
    "truncate_prompt_tokens": [0, -2, 1.5, "9", True, np.array([1, 2])],
    "logit_bias": [[1, 2], {"5": 1}, {5: 101}, {5: None}, {-1: 1}],
    "ignore_eos": ["no", None],
    "detokenize": [None],
    "skip_special_tokens": [3],
    "include_stop_str_in_output": ["yes"],
    "schema": [5, "", "[1]", {"type": "strin"}, {"type": "array", "uniqueItems": True}],
    "choices": [5, "ab", [], [""], ["a", 3]],
    "regex": [5, "", "(", "a(?=b)"],
    "grammar": [5, "", "start: missing"],
    "whitespace": ["yes", True],
    "response_format": [5],
    "structured_outputs": [5, "a+", {"regex": "a"}],
    "guided_decoding": [5, "a+", {"regex": "a"}],
}


def pairs(wrong: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in wrong.items() for value in [*values, WRONG]]


@pytest.mark.parametrize(("name", "value"), pairs(WRONG_ENGINE_VALUES))
def test_engine_refuses(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=name):
        EngineConfig.from_options({name: value})


@pytest.mark.parametrize(("name", "value"), pairs(WRONG_SAMPLING_VALUES))
def test_sampling_refuses(name: str, value: Any) -> None:
    with pytest.raises((OptionError, SchemaError), match="schema" if name == "response_format" else name):
        SamplingParams(**{name: value})


@pytest.mark.parametrize("name", sorted(NOT_IN_SAMPLING))
def test_sampling_parameters_of_vllm_pass_where_they_change_nothing(name: str) -> None:
    for value in NOT_IN_SAMPLING[name].passes:
        assert SamplingParams(**{name: value}) == SamplingParams()
    for value in ("awq", 3, WRONG, np.zeros(3)):
        with pytest.raises(NotSupportedYetError, match=f"SamplingParams {name}=") as raised:
            SamplingParams(**{name: value})
        assert raised.value.hint


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CHOICE = StructuredOutputsParams(choice=["a"])


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"json": SCHEMA}, {"schema": SCHEMA}),
        ({"json": json.dumps(SCHEMA)}, {"schema": SCHEMA}),
        ({"json_object": True}, {"schema": {"type": "object"}}),
        ({"choice": ["yes", "no"]}, {"choices": ["yes", "no"]}),
        ({"regex": "a+"}, {"regex": "a+"}),
        ({"grammar": 'start: "a"'}, {"grammar": 'start: "a"'}),
    ],
)
@pytest.mark.parametrize(
    ("name", "kind"), [("structured_outputs", StructuredOutputsParams), ("guided_decoding", GuidedDecodingParams)]
)
def test_constraints_may_be_given_as_vllm_has_them(name: str, kind: Any, given: Any, same: Any) -> None:
    assert SamplingParams(**{name: kind(**given)}) == SamplingParams(**same)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (StructuredOutputsParams, "none was given"),
        (lambda: StructuredOutputsParams(json=SCHEMA, regex="a"), "json and regex were given"),
        (lambda: StructuredOutputsParams(jsn=SCHEMA), "Did you mean 'json'"),
        (lambda: StructuredOutputsParams(json_object="yes"), "json_object='yes'"),
        (lambda: SamplingParams(structured_outputs=StructuredOutputsParams(regex="("), n=2), "regex"),
        (
            lambda: SamplingParams(structured_outputs=StructuredOutputsParams(regex="a"), choices=["a"]),
            "choices and regex were given",
        ),
        (lambda: SamplingParams(structured_outputs=CHOICE, choices=["a"]), "choices was given twice"),
        (lambda: SamplingParams(structured_outputs=CHOICE, guided_decoding=CHOICE), "two names of one option"),
    ],
)
def test_constraints_of_vllm_that_cannot_be_meant_are_refused(params: Any, expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        params()


@pytest.mark.parametrize("name", sorted(NOT_IN_STRUCTURED_OUTPUTS))
def test_settings_of_constraints_pass_where_they_change_nothing(name: str) -> None:
    for value in NOT_IN_STRUCTURED_OUTPUTS[name].passes:
        assert StructuredOutputsParams(regex="a", **{name: value}) == StructuredOutputsParams(regex="a")
    with pytest.raises(NotSupportedYetError, match=f"StructuredOutputsParams {name}=") as raised:
        StructuredOutputsParams(regex="a", **{name: "awq"})
    assert raised.value.hint


def test_parameters_can_be_replaced_and_kept() -> None:
    params = SamplingParams(structured_outputs=CHOICE, spaces_between_special_tokens=True)
    assert dataclasses.replace(params, n=2) == SamplingParams(choices=["a"], n=2)
    assert pickle.loads(pickle.dumps(params)) == params


def test_every_option_has_wrong_values_here() -> None:
    assert WRONG_ENGINE_VALUES.keys() == EngineConfig.__dataclass_fields__.keys()
    assert WRONG_SAMPLING_VALUES.keys() == SamplingParams.__dataclass_fields__.keys()


def test_numbers_of_numpy_become_plain() -> None:
    params = SamplingParams(
        max_tokens=np.int64(3), temperature=np.float32(0.5), top_k=np.int32(-1), stop_token_ids=np.array([4, 5]),
        logit_bias={np.int64(7): np.float64(1.5)},
    )  # fmt: skip
    plain = (params.max_tokens, params.temperature, params.top_k, params.stop_token_ids, params.logit_bias)
    assert json.dumps(plain) == '[3, 0.5, 0, [4, 5], {"7": 1.5}]'
    assert json.dumps(EngineConfig(max_model_len=np.int64(64)).max_model_len) == "64"


@pytest.mark.parametrize("options", [SamplingParams, EngineConfig])
def test_help_and_completion_see_every_option(options):
    assert list(inspect.signature(options).parameters) == list(options.__dataclass_fields__)


@pytest.mark.parametrize("name", sorted(NOT_BUILT_YET))
def test_options_of_vllm_pass_where_they_change_nothing(name: str) -> None:
    for value in NOT_BUILT_YET[name].passes:
        assert EngineConfig.from_options({name: value}) == EngineConfig()
    for value in ("awq", 3, WRONG, np.zeros(3)):
        with pytest.raises(NotSupportedYetError, match=f"Option {name}=") as raised:
            EngineConfig.from_options({name: value})
        assert raised.value.hint


@pytest.mark.parametrize("name", sorted(CHOSEN_BY_THE_ENGINE))
def test_options_of_vllm_about_speed_and_logs_pass(name: str) -> None:
    assert EngineConfig.from_options({name: True}) == EngineConfig()


def test_numbers_are_no_switches() -> None:
    for options in ({"tensor_parallel_size": True}, {"enable_lora": 0}):
        with pytest.raises(NotSupportedYetError):
            EngineConfig.from_options(options)


def test_dtypes_may_be_those_of_torch() -> None:
    assert EngineConfig(dtype=torch.float16).dtype == "float16"
    assert EngineConfig(dtype="half").dtype == "half"
    with pytest.raises(OptionError, match="dtype"):
        EngineConfig(dtype=torch.int8)


def test_the_model_inside_has_a_name() -> None:
    named = EngineConfig(model="pagednb/embedded", max_model_len=64)
    assert named == EngineConfig(max_model_len=64) and not named.difference(EngineConfig(max_model_len=64))
