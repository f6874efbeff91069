"""Options that vLLM has and pagednb has not: which values pass, and what to do instead of the others.

``EngineConfig``, ``SamplingParams`` and ``StructuredOutputsParams`` ask before they look at their own options. A value
passes when it asks for what holds here anyway.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple, TypeVar

from pagednb.checks import plain_number
from pagednb.errors import NotSupportedYetError

T = TypeVar("T")

_PLAIN = (str, int, float, list, tuple, dict, type(None))


class VllmOption(NamedTuple):
    """``passes``: values without effect here; any other is refused with ``hint``."""

    passes: tuple[Any, ...]
    hint: str = "Leave it out."


_ONE_GPU = "The model runs on one GPU, or on the CPU: leave it out."
_FULL_PRECISION = 'Load the unquantized model; dtype="bfloat16" takes half the memory of float32.'
NO_ADAPTERS = "Merge the adapter into the model's weights, and load those."
_MEMORY = "Lower max_model_len, or raise gpu_memory_utilization."

NOT_BUILT_YET: Mapping[str, VllmOption] = {
    "quantization": VllmOption((None,), _FULL_PRECISION),
    "kv_cache_dtype": VllmOption(("auto",), _MEMORY),
    "kv_cache_memory_bytes": VllmOption((None,), "Use gpu_memory_utilization or num_gpu_blocks_override."),
    "tensor_parallel_size": VllmOption((1,), _ONE_GPU),
    "pipeline_parallel_size": VllmOption((1,), _ONE_GPU),
    "data_parallel_size": VllmOption((1,), _ONE_GPU),
    "distributed_executor_backend": VllmOption((None,), _ONE_GPU),
    "worker_use_ray": VllmOption((False,), _ONE_GPU),
    "enable_expert_parallel": VllmOption((False,), _ONE_GPU),
    "enable_lora": VllmOption((False, None), NO_ADAPTERS),
    "lora_modules": VllmOption((None,), NO_ADAPTERS),
    "speculative_config": VllmOption((None,)),
    "speculative_model": VllmOption((None,)),
    "tokenizer_mode": VllmOption(("auto", "fast", "hf")),
    "tokenizer_revision": VllmOption((None,), "Give tokenizer= as the path of a folder."),
    "code_revision": VllmOption((None,)),
    "hf_token": VllmOption((None,), "Set the variable HF_TOKEN: the hub's own library reads it."),
    "hf_overrides": VllmOption((None, {}), "Change the model's config.json."),
    "hf_config_path": VllmOption((None,), "Put the config.json beside the weights."),
    "rope_scaling": VllmOption((None, {}), "Set it in the model's config.json."),
    "rope_theta": VllmOption((None,), "Set it in the model's config.json."),
    "generation_config": VllmOption(("auto", None), "Give SamplingParams with each call: they replace the model's."),
    "override_generation_config": VllmOption((None, {}), "Give SamplingParams with each call."),
    "enable_chunked_prefill": VllmOption((True, None), "Prompts are always computed in chunks: leave it out."),
    "disable_sliding_window": VllmOption((False,)),
    "max_logprobs": VllmOption((20,)),
    "scheduling_policy": VllmOption(("fcfs",)),
    "guided_decoding_backend": VllmOption((None, "auto", "guidance"), "Constraints are enforced by llguidance."),
    "structured_outputs_config": VllmOption((None, {}), "Constraints are enforced by llguidance."),
    "compilation_config": VllmOption((None, {}), "enforce_eager=True turns CUDA graphs off."),
    "logits_processors": VllmOption((None, [], ()), "Give them to SamplingParams."),
    "limit_mm_per_prompt": VllmOption((None, {}), "Models of pictures or sound are not built yet."),
    "mm_processor_kwargs": VllmOption((None, {}), "Models of pictures or sound are not built yet."),
    "kv_transfer_config": VllmOption((None,)),
    "override_pooler_config": VllmOption((None,)),
    "task": VllmOption(("auto", "generate")),
    "runner": VllmOption(("auto", "generate")),
}

CHOSEN_BY_THE_ENGINE = frozenset(
    {
        "disable_async_output_proc",
        "disable_custom_all_reduce",
        "disable_log_requests",
        "disable_log_stats",
        "enable_log_requests",
        "enable_sleep_mode",
        "max_seq_len_to_capture",
        "num_scheduler_steps",
        "scheduler_delay_factor",
        "trust_remote_code",
        "use_v2_block_manager",
    }
)
"""Options that any value passes of: they are about speed or logs and change no output, or permit what is never done.

``trust_remote_code`` is such a permission: no code from a model's folder is ever run.
"""

NAMES = NOT_BUILT_YET.keys() | CHOSEN_BY_THE_ENGINE
"""All names of engine options that these tables answer for."""

_BEAMS = "LLM.beam_search(prompts, BeamSearchParams(...)) finds beams."
_LLGUIDANCE = "Constraints are enforced by llguidance: leave it out."

NOT_IN_SAMPLING: Mapping[str, VllmOption] = {
    "early_stopping": VllmOption((False,), _BEAMS),
    "extra_args": VllmOption((None, {})),
    "flat_logprobs": VllmOption((False,), "Log-probabilities come as a dict for each token."),
    "length_penalty": VllmOption((1.0,), _BEAMS),
    "output_kind": VllmOption((None,), "llm.engine.stream yields an answer as it grows."),
    "repetition_detection": VllmOption((None,), "Use repetition_penalty."),
    "skip_clone": VllmOption((False, True)),
    "skip_reading_prefix_cache": VllmOption((None, False), "Load the engine with enable_prefix_caching=False."),
    "spaces_between_special_tokens": VllmOption((True,)),
    "thinking_token_budget": VllmOption((None,), "Bound the whole answer with max_tokens."),
    "use_beam_search": VllmOption((False,), _BEAMS),
}
"""Parameters of vLLM's ``SamplingParams``, of this version or an older one."""

NOT_IN_STRUCTURED_OUTPUTS: Mapping[str, VllmOption] = {
    "backend": VllmOption((None, "auto", "guidance"), _LLGUIDANCE),
    "disable_additional_properties": VllmOption((False, True)),
    "disable_any_whitespace": VllmOption((False, True)),
    "disable_fallback": VllmOption((False, True)),
    "structural_tag": VllmOption((None,), "Write it as a grammar."),
    "whitespace_pattern": VllmOption((None,), "JSON is compact; SamplingParams(schema=..., whitespace=True) frees it."),
}
"""Settings of vLLM's constraints. JSON is compact and has no surplus keys here, and nothing is fallen back to."""


def refuse_unbuilt_options(
    options: Mapping[str, Any], table: Mapping[str, VllmOption] = NOT_BUILT_YET, *, owner: str = "Option"
) -> None:
    """Raise NotSupportedYetError for the first option that asks for what is not built, with what to do instead."""
    for name, value in options.items():
        option = table.get(name)
        if option is not None and not any(_is_same(value, passing) for passing in option.passes):
            raise NotSupportedYetError(f"{owner} {name}={value!r} is not built yet.", hint=option.hint)


def passing_over(names: Container[str]) -> Callable[[type[T]], type[T]]:
    """Let a dataclass, whose ``__new__`` has looked at all options, be made without those of ``names``."""

    def decorate(cls: type[T]) -> type[T]:
        init = cls.__init__

        @functools.wraps(init)
        def init_without(self: T, *args: Any, **options: Any) -> None:
            init(self, *args, **{name: value for name, value in options.items() if name not in names})

        cls.__init__ = init_without  # type: ignore[method-assign, assignment]
        return cls

    return decorate


def _is_same(value: Any, passing: Any) -> bool:
    """Whether the values are equal, and both switches or neither: True is not the number 1."""
    value = plain_number(value)
    if not isinstance(value, _PLAIN) or isinstance(value, bool) != isinstance(passing, bool):
        return False
    return bool(value == passing)
