"""What the tests of ``LLM`` on a tiny model ask it."""

from __future__ import annotations

from typing import Any

import pagednb
from pagednb import LLM, SamplingParams

MAX_MODEL_LEN = 96
PROMPTS = ["the quick brown fox", "where is my order?", "it was late, again!", "a"]
GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)


def one(llm: LLM, prompt: Any, params: SamplingParams) -> pagednb.outputs.CompletionOutput:
    """The first output for one prompt."""
    return llm.generate(prompt, params)[0].outputs[0]
