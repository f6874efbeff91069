"""The prompts of one call on their way in: encoded and checked in batches, ahead of their requests.

Encoding leaves the interpreter lock to the engine, and a mistake in the last of thousands shows while the first run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pagednb.engine.input_processor import InputProcessor
from pagednb.engine.token_prompt import Prompt, TokenPrompt
from pagednb.errors import OptionError
from pagednb.sampling_params import SamplingParams, require_sampling_params

ENCODE_BATCH = 256
"""Prompts tokenised at once: the engine works on one batch while the next is encoded."""


class CheckedPrompt(NamedTuple):
    """A prompt that can run; ``key`` says which of the call's it is."""

    key: int
    prompt: TokenPrompt
    params: SamplingParams


def checked_prompts(
    input_processor: InputProcessor, prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams]
) -> Iterator[list[CheckedPrompt]]:
    """Yield the prompts in batches, each with its parameters: ``params`` are one for all, or one for each.

    Raises:
        PagednbError: as ``InputProcessor.tokenize`` and ``check``.
    """
    all_params = _one_each(params, len(prompts))
    for start in range(0, len(prompts), ENCODE_BATCH):
        encoded = input_processor.tokenize(prompts[start : start + ENCODE_BATCH])
        batch = [CheckedPrompt(index, prompt, all_params[index]) for index, prompt in enumerate(encoded, start)]
        for _, prompt, prompt_params in batch:
            input_processor.check(prompt, prompt_params)
        yield batch


def _one_each(params: SamplingParams | Sequence[SamplingParams], num_prompts: int) -> Sequence[SamplingParams]:
    if not isinstance(params, Sequence) or isinstance(params, str):
        return [require_sampling_params(params)] * num_prompts
    if len(params) != num_prompts:
        raise OptionError(
            f"There are {num_prompts} prompts and {len(params)} sampling parameters.",
            hint="Give one SamplingParams for all, or one for each.",
        )
    return [require_sampling_params(one) for one in params]
