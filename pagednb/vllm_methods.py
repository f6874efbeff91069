"""What vLLM's class ``LLM`` has and ours has not: methods, and arguments of the methods that both have.

An argument passes when it asks for what holds here anyway; any other, and every method, says what to do instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pagednb.errors import NotSupportedYetError, refuse_unknown_options
from pagednb.vllm_options import NO_ADAPTERS, VllmOption, refuse_unbuilt_options

_ONLY_TEXT = "Only models that write text are served."
_NO_WORKERS = "There are no worker processes: the model runs in this one."
_NO_MEDIA = "Models of pictures or sound are not built yet."
_ANY_SWITCH = (True, False, None)

METHODS_NOT_BUILT_YET: Mapping[str, str] = {
    "apply_model": _NO_WORKERS,
    "classify": "frame.llm.classify sorts texts into labels with a model that writes text.",
    "collective_rpc": _NO_WORKERS,
    "get_world_size": _NO_WORKERS,
    "init_weight_transfer_engine": "Load the new weights as a model of their own.",
    "llm_engine": "The engine is llm.engine, and has methods of its own.",
    "preprocess_chat": "llm.engine.render_chat(messages) returns the prompt's text.",
    "reset_mm_cache": _NO_MEDIA,
    "reward": _ONLY_TEXT,
    "set_tokenizer": "Load the model with tokenizer=.",
    "start_profile": "Use torch.profiler around the calls.",
    "stop_profile": "Use torch.profiler around the calls.",
    "update_weights": "Load the new weights as a model of their own.",
}
"""Methods and attributes, each with what to do instead."""

ARGUMENTS_NOT_BUILT_YET: Mapping[str, VllmOption] = {
    "chat_template_content_format": VllmOption(("auto", "string"), "Texts in parts are joined to one text."),
    "concurrency_limit": VllmOption((None,), "The engine runs as many at once as fit."),
    "guided_options_request": VllmOption((None,), "Use SamplingParams(structured_outputs=...)."),
    "lora_request": VllmOption((None,), NO_ADAPTERS),
    "mm_processor_kwargs": VllmOption((None, {}), _NO_MEDIA),
    "pooling_params": VllmOption((None,), "Use pooling= and normalize=."),
    "pooling_task": VllmOption((None, "embed"), "A text is one vector here: pooling= says of which tokens."),
    "priority": VllmOption((None,), "Over HTTP each request has a priority."),
    "prompt_adapter_request": VllmOption((None,), NO_ADAPTERS),
    "prompt_token_ids": VllmOption((None,), 'Give them as prompts: [{"prompt_token_ids": [1, 2, 3]}].'),
    "score_template": VllmOption((None,), "Lay the texts out before."),
    "tokenization_kwargs": VllmOption((None, {}), "Give token ids."),
    "use_tqdm": VllmOption(_ANY_SWITCH),  # of methods that show no bar
}
"""Arguments of methods. Of ``use_tqdm`` any value passes where there is no bar: it changes no output."""


class MethodNotBuiltError(NotSupportedYetError, AttributeError):
    """A method of vLLM's class that is not built yet; to ``hasattr`` it is not there."""


def refuse_other_arguments(method: Callable[..., Any], others: Mapping[str, Any]) -> None:
    """Refuse arguments that a method of ``LLM`` lacks, but those of vLLM's that ask for nothing.

    Raises:
        NotSupportedYetError: naming the first of vLLM's that asks for something, with what to do instead.
        OptionError: a name that neither has, with the nearest.
    """
    owner = f"LLM.{method.__name__}"
    refuse_unbuilt_options(others, ARGUMENTS_NOT_BUILT_YET, owner=f"{owner} with")
    known = [name for name in inspect.signature(method).parameters if name != "others"]
    refuse_unknown_options([name for name in others if name not in ARGUMENTS_NOT_BUILT_YET], known, owner=owner)
