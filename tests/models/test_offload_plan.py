"""Which layers leave the device, and what that frees; what cannot be freed is refused with the figure that can."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.tiny_models import tiny_model

from pagednb.config import EngineConfig
from pagednb.errors import OptionError
from pagednb.models.offload_plan import MAX_BUFFERS, OffloadPlan, plan_offload
from pagednb.models.resolve import ResolvedModel, resolve_model

GIB = 2**30


@pytest.fixture(scope="module")
def resolve(tmp_path_factory):
    def resolve(num_layers: int, architecture: str = "llama3.1", **overrides: Any) -> ResolvedModel:
        folder = tmp_path_factory.mktemp("tiny")
        tiny_model(architecture, folder, num_hidden_layers=num_layers, **overrides)
        return resolve_model(EngineConfig(model=folder, device="cpu"))

    return resolve


def layer_gib(resolved: ResolvedModel) -> float:
    return plan_offload(resolved, 0).layout.weight_bytes / GIB


def test_without_the_option_every_layer_stays(resolve):
    plan = plan_offload(resolve(5), 0)
    assert (plan.layers, plan.num_buffers, plan.host_bytes, plan.freed_bytes) == ((), 0, 0, 0)


@pytest.mark.parametrize("num_layers", [3, 4, 7, 12])
def test_as_few_layers_as_free_what_is_asked_for_beside_the_buffers(resolve, num_layers):
    resolved = resolve(num_layers)
    one = layer_gib(resolved)
    for num_freed in range(1, num_layers - MAX_BUFFERS + 1):
        plan = plan_offload(resolved, (num_freed - 0.5) * one)
        assert len(plan.layers) == num_freed + MAX_BUFFERS
        assert plan.freed_bytes >= (num_freed - 0.5) * one * GIB
        assert plan.host_bytes == len(plan.layers) * plan.layout.num_bytes


def test_a_fraction_of_a_layer_takes_a_layer_and_the_buffers(resolve):
    assert plan_offload(resolve(9), 1e-9).layers == (2, 5, 8)


@pytest.mark.parametrize("num_layers", [3, 4, 5, 12, 32])
def test_layers_are_spread_evenly_and_end_with_the_last(resolve, num_layers):
    resolved = resolve(num_layers, hidden_size=24, intermediate_size=16, head_dim=8)
    seen = set()
    for step in range(1, 200):
        try:
            layers = plan_offload(resolved, step / 200 * layer_gib(resolved) * (num_layers - MAX_BUFFERS)).layers
        except OptionError:  # the padding of the buffers
            continue
        seen.add(len(layers))
        gaps = {later - former for former, later in zip((-1, *layers), layers, strict=False)}
        assert layers[-1] == num_layers - 1
        assert max(gaps) - min(gaps) <= 1 and min(gaps) >= 1
    assert seen == set(range(MAX_BUFFERS + 1, num_layers + 1))


def test_more_than_there_is_names_the_most_that_passes(resolve):
    resolved = resolve(6)
    with pytest.raises(OptionError, match=r"cpu_offload_gb=8 is more .* all 6 in host memory.* 2 buffers") as caught:
        plan_offload(resolved, 8)
    found = re.search(r"Give at most ([0-9.e-]+),", str(caught.value))
    assert found is not None
    most = plan_offload(resolved, float(found[1]))
    assert most.layers == tuple(range(6))
    with pytest.raises(OptionError):
        plan_offload(resolved, float(found[1]) * 1.02)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_models_of_no_more_layers_than_buffers_have_nothing_to_free(resolve, num_layers):
    with pytest.raises(OptionError, match=rf"frees nothing: the model has {num_layers} decoder layer.* Leave it out"):
        plan_offload(resolve(num_layers), 0.0001)


def test_what_is_freed_is_what_the_layers_take_less_the_buffers(resolve):
    layout = plan_offload(resolve(3), 0).layout
    plan = OffloadPlan(layers=(0, 1, 2), layout=layout)
    assert plan.freed_bytes == 3 * layout.weight_bytes - 2 * layout.num_bytes
    assert layout.weight_bytes <= layout.num_bytes < layout.weight_bytes + 512 * 9
