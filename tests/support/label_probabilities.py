"""The probabilities of labels by brute force: each scored by transformers on the whole prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from support.tiny_tokenizers import byte_fallback_backend


def fallback_tokenizer() -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=byte_fallback_backend(), bos_token="<s>", eos_token="</s>"
    )


def words_of(labels: Sequence[str]) -> str:
    return "Answer with one of these labels:\n" + "".join(f"- {label}\n" for label in labels) + "\n"


def token_ids_of(tokenizer: Any, text: str, label: str) -> list[int]:
    """The tokens of a row's whole prompt and a label, by transformers alone."""
    if not tokenizer.chat_template:
        return tokenizer(text + label)["input_ids"]  # type: ignore[no-any-return]
    messages = [{"role": "user", "content": text}]
    chat = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, enable_thinking=False)
    return tokenizer(chat + label, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def brute_force(model: Any, paths: Sequence[Sequence[int]], end: int) -> np.ndarray:
    """The probability of each whole sequence of tokens where at every place only these sequences may go on."""
    probabilities = []
    for path in paths:
        with torch.inference_mode():
            logits = model(torch.tensor([path])).logits[0].double()
        probability = 1.0
        for place in range(1, len(path) + 1):
            going_on = [other for other in paths if list(other[:place]) == list(path[:place])]
            ways = {other[place] if place < len(other) else end for other in going_on}
            if len(ways) > 1:
                chosen = path[place] if place < len(path) else end
                allowed = torch.tensor(sorted(ways))
                shares = logits[place - 1][allowed].softmax(0)
                probability *= float(shares[sorted(ways).index(chosen)])
        probabilities.append(probability)
    return np.array(probabilities)


def check_equal(found: Sequence[float], expected: np.ndarray) -> None:
    """To 1e-4, the unlikely ones in proportion too: these models are sure of themselves."""
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(np.log(found), np.log(expected), atol=2e-3)
