"""Which tokens the labels are behind a prompt: found by tokenising prompt and label together.

A label's tokens depend on the text before it, and the prompt's last tokens on the label: a space at the prompt's end
joins the label's first word. So nothing is glued together here. What is spared is work: tokenizers split text at added
tokens (such as those of a chat template) before all else, so what stands behind the last one is tokenised with each
label alone, and once for all rows where it is the same.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pagednb.dataframe.labels.trie import LabelTrie
from pagednb.dataframe.prompts.model_prompt import encode_prompts
from pagednb.dataframe.run.task import EncodedPrompt, RowFailure
from pagednb.errors import NotSupportedYetError, OptionError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

MAX_KEPT_TAILS = 1024
THINK = "<think>"
BEFORE_LABELS = ("", "\n", "x", "x ")
"""What prompts end with. Labels that are the same tokens behind one may differ behind another."""
LOOK_BACK_TOKENS = 64
"""How far from the prompt's end the last added token may stand; chat templates put it into the last few."""


@dataclasses.dataclass(frozen=True)
class LabelledPrompt:
    """The tokens that prompt and any label have in common, int32 ``[num_tokens]``, and the tree of what follows."""

    token_ids: np.ndarray
    trie: LabelTrie


@dataclasses.dataclass(frozen=True)
class _Tail:
    """What is known of a prompt's end: its tokens, how they begin with any label behind them, and the tree.

    ``is_kept``: the two are the same, as they are behind most chat templates.
    """

    token_ids: np.ndarray
    common: np.ndarray
    is_kept: bool
    trie: LabelTrie


class LabelTokenizer:
    """Finds the tokens of the same labels behind many prompts. Remembers the last prompts' ends."""

    def __init__(self, engine: LLMEngine, labels: Sequence[str]) -> None:
        self._engine = engine
        self._labels = labels
        self._added_tokens = engine.added_tokens
        self._end_token_ids = sorted(engine.resolved.eos_token_ids)
        self._tails: OrderedDict[str, _Tail] = OrderedDict()

    def max_tokens(self) -> int:
        """Return how many tokens a label has at most, whatever stands before it."""
        return max(2 * len(token_ids) for token_ids in encode_prompts(self._engine, self._labels))

    def require_different(self) -> None:
        """Refuse labels that the tokenizer cannot tell apart, whatever stands before them.

        Raises:
            OptionError: naming two.
        """
        for before in BEFORE_LABELS:
            labelled = encode_prompts(self._engine, [before + label for label in self._labels])
            try:
                self._trie(labelled, len(_common_beginning(labelled)))
            except RowFailure as failure:
                reason = failure.message
            else:
                return
        raise OptionError(reason, hint="Change one of them.")

    def label(self, prompt: EncodedPrompt) -> LabelledPrompt:
        """Return where the labels begin behind a prompt, and how they go on.

        Raises:
            RowFailure: two labels cannot be told apart.
            NotSupportedYetError: the chat template makes the model think first.
        """
        start, text = self._last_added_token(prompt)
        if start is not None:
            tail = self._tail(text)
            if np.array_equal(tail.token_ids, prompt.token_ids[start:]):
                if tail.is_kept:
                    return LabelledPrompt(prompt.token_ids, tail.trie)
                return LabelledPrompt(np.concatenate([prompt.token_ids[:start], tail.common]), tail.trie)
        whole = encode_prompts(self._engine, [prompt.text + label for label in self._labels])
        common = _common_beginning(whole)
        return LabelledPrompt(common, self._trie(whole, len(common)))

    def _last_added_token(self, prompt: EncodedPrompt) -> tuple[int | None, str]:
        """The last added token's place among the tokens, and the text from there on; None without one."""
        num_tokens = len(prompt.token_ids)
        last = prompt.token_ids[-LOOK_BACK_TOKENS:].tolist()
        for back, token_id in enumerate(reversed(last), 1):
            content = self._added_tokens.get(token_id)
            if content == THINK:
                raise NotSupportedYetError(
                    "The prompt leaves the model thinking; labels that follow its thoughts are not built yet.",
                    hint="Use a model whose chat template has enable_thinking=False.",
                )
            if content is not None:
                place = prompt.text.rfind(content)
                return (None, "") if place < 0 else (num_tokens - back, prompt.text[place:])
        return None, ""

    def _tail(self, text: str) -> _Tail:
        tail = self._tails.get(text)
        if tail is None:
            alone, *labelled = self._encode([text, *(text + label for label in self._labels)])
            common = _common_beginning(labelled)
            is_kept = np.array_equal(alone, common)
            tail = self._tails[text] = _Tail(alone, common, is_kept, self._trie(labelled, len(common)))
            if len(self._tails) > MAX_KEPT_TAILS:
                self._tails.popitem(last=False)
        return tail

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return self._engine.encode(texts, add_special_tokens=False)

    def _trie(self, labelled: Sequence[np.ndarray], num_common: int) -> LabelTrie:
        paths = [tuple(ids[num_common:].tolist()) for ids in labelled]
        path_to_label: dict[tuple[int, ...], str] = {}
        for label, path in zip(self._labels, paths, strict=True):
            if path in path_to_label:
                raise RowFailure(f"The labels {path_to_label[path]!r} and {label!r} are the same tokens to this model.")
            path_to_label[path] = label
        return LabelTrie.of(paths, self._end_token_ids)


def _common_beginning(arrays: Sequence[np.ndarray]) -> np.ndarray:
    length = min(map(len, arrays))
    first = arrays[0][:length]
    is_equal = np.ones(length, dtype=bool)
    for array in arrays[1:]:
        is_equal &= array[:length] == first
    return first[: length if is_equal.all() else int(is_equal.argmin())]
