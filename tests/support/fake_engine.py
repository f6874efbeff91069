"""An engine without a model: what row jobs use of ``LLMEngine`` and ``Call``, with answers that can be predicted.

It is as strict as the real one: keys are unique within a call, empty and too long prompts are refused at submission,
results come in any order and some polls bring none.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Hashable, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from pagednb.errors import ContextLengthError, PagednbError, PromptError
from pagednb.outputs import CompletionOutput, Logprob, RequestOutput
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams


def reverse(prompt: str) -> str:
    """The answer to a prompt: itself, backwards."""
    return prompt[::-1]


def fake_logprob(prompt: Any, token_id: int) -> float:
    """A logprob that anyone can work out, of a token behind a prompt (token ids, which are bytes)."""
    return -(zlib.crc32(bytes(list(prompt)) + token_id.to_bytes(4, "little")) % 1000) / 100


def fake_embedding(prompt: Any, pooling: Pooling) -> np.ndarray:
    """An embedding that anyone can work out, float32 ``[4]``, of a prompt (token ids, which are bytes)."""
    ids = np.asarray(list(prompt), dtype=np.float32)
    pooled = {"last": ids[-1], "cls": ids[0], "mean": ids.mean()}[pooling]
    return np.array([pooled, len(ids), 1, ids.sum() / 3], dtype=np.float32)


class FakeEngine:
    """Tokens are UTF-8 bytes; the answer to a prompt is ``answer(prompt)``, and some requests are aborted."""

    def __init__(
        self,
        *,
        has_chat_template: bool = False,
        max_model_len: int = 2000,
        max_num_seqs: int = 64,
        max_per_poll: int = 300,
        generation_config: dict[str, Any] | None = None,
        answer: Callable[[str], str] = reverse,
        seed: int = 0,
        abort_share: float = 0.0,
    ) -> None:
        self.has_chat_template = has_chat_template
        self.max_num_seqs = max_num_seqs
        self.max_per_poll = max_per_poll
        self.resolved = SimpleNamespace(
            name="fake/model",
            revision="r1",
            dtype="float32",
            identity="fake/model@r1:float32",
            generation_config=generation_config or {},
            max_model_len=max_model_len,
            eos_token_ids=(0,),
        )
        self.added_tokens: dict[int, str] = {}
        self.config = SimpleNamespace(load_format="auto", tokenizer=None)
        self.geometry = SimpleNamespace(max_model_len=max_model_len, num_usable_tokens=10**6)
        self.answer = answer
        self.abort_share = abort_share
        self.calls: list[FakeCall] = []
        self.encoded_chars: list[int] = []
        self.reads_plain_texts = False  # whatever the chat template
        self.on_submit: Callable[[], None] = lambda: None
        self.on_poll: Callable[[], None] = lambda: None
        self._random = random.Random(seed)

    def encode(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[np.ndarray]:
        assert add_special_tokens is (self.reads_plain_texts or not self.has_chat_template)
        self.encoded_chars.append(sum(map(len, texts)))
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32) for text in texts]

    def render_chat(self, messages: Sequence[dict[str, str]], **template_kwargs: Any) -> str:
        return "".join(f"<{message['role']}>{message['content']}" for message in messages) + "<assistant>"

    def render_chats(self, conversations: Sequence[list[dict[str, str]]], **template_kwargs: Any) -> list[str]:
        return [self.render_chat(messages, **template_kwargs) for messages in conversations]

    def open_call(
        self,
        *,
        stream: bool = False,
        priority: int = 0,
        returns_prompts: bool = True,
        pooling: Pooling | None = None,
    ) -> FakeCall:
        assert not stream and not returns_prompts
        self.calls.append(FakeCall(self, self._random, pooling))
        return self.calls[-1]


class FakeCall:
    """One caller's requests; remembers what was submitted and how much waited at once."""

    def __init__(self, engine: FakeEngine, randomness: random.Random, pooling: Pooling | None) -> None:
        self._engine = engine
        self._pooling = pooling
        self._random = randomness
        self._pending: dict[int, tuple[np.ndarray, SamplingParams]] = {}
        self._keys: set[int] = set()
        self.submitted: list[tuple[Any, SamplingParams]] = []
        self.prompts: list[list[int]] = []
        self.max_num_pending = 0
        self.num_aborted = 0
        self.is_open = False

    def __enter__(self) -> Self:
        self.is_open = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.is_open = False
        self.num_aborted = len(self._pending)
        self._pending.clear()

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    def offer(
        self, batch: Sequence[tuple[Hashable, np.ndarray, SamplingParams]]
    ) -> list[tuple[Hashable, PagednbError]]:
        refused: list[tuple[Hashable, PagednbError]] = []
        for key, prompt, params in batch:
            try:
                self._submit(key, prompt, params)
            except (ContextLengthError, PromptError) as error:
                refused.append((key, error))
        return refused

    def _submit(self, key: Hashable, prompt: np.ndarray, params: SamplingParams) -> None:
        assert self.is_open and key not in self._keys
        self._keys.add(key)
        if not len(prompt):
            raise PromptError("The prompt is empty.")
        if len(prompt) >= self._engine.resolved.max_model_len:
            raise ContextLengthError(f"The prompt has {len(prompt)} tokens, more than fit the model.")
        self._engine.on_submit()
        self._pending[key] = (prompt, params)
        self.submitted.append((key, params))
        self.prompts.append(prompt.tolist())
        self.max_num_pending = max(self.max_num_pending, self.num_pending)

    def poll(self, timeout_s: float = 0.1) -> list[tuple[int, RequestOutput]]:
        assert self.is_open
        self._engine.on_poll()
        count = self._random.randint(0, min(self.num_pending, self._engine.max_per_poll))
        keys = self._random.sample(list(self._pending), count)
        return [(key, self._finish(key)) for key in keys]

    def _finish(self, key: int) -> RequestOutput:
        prompt, params = self._pending.pop(key)
        if self._random.random() < self._engine.abort_share:
            aborted = CompletionOutput(index=0, text="", token_ids=(), finish_reason="abort")
            return RequestOutput(request_id=str(key), prompt=None, prompt_token_ids=(), outputs=(aborted,))
        if self._pooling is not None:
            return _embed(key, prompt, self._pooling)
        if params.logprob_token_ids is not None:
            return self._name_logprobs(key, prompt, params.logprob_token_ids)
        text = bytes(prompt.tolist()).decode()
        answer = self._engine.answer(text)
        token_ids = tuple(answer.encode())
        is_cut = params.max_tokens is not None and len(token_ids) > params.max_tokens
        if is_cut:
            answer = answer.encode()[: params.max_tokens].decode(errors="replace")
            token_ids = token_ids[: params.max_tokens]
        completion = CompletionOutput(
            index=0, text=answer, token_ids=token_ids, finish_reason="length" if is_cut else "stop"
        )
        return RequestOutput(
            request_id=str(key),
            prompt=None,
            prompt_token_ids=tuple(prompt.tolist()),
            outputs=(completion,),
            num_cached_tokens=1,
        )

    def _name_logprobs(self, key: Any, prompt: np.ndarray, token_ids: Sequence[int]) -> RequestOutput:
        logprobs = {token_id: Logprob(fake_logprob(prompt, token_id)) for token_id in token_ids}
        completion = CompletionOutput(index=0, text="", token_ids=(0,), logprobs=(logprobs,), finish_reason="length")
        prompt_token_ids = tuple(prompt.tolist())
        return RequestOutput(request_id=str(key), prompt=None, prompt_token_ids=prompt_token_ids, outputs=(completion,))


def _embed(key: Any, prompt: np.ndarray, pooling: Pooling) -> RequestOutput:
    completion = CompletionOutput(index=0, text="", token_ids=(7,), finish_reason="length")
    embedding = fake_embedding(prompt, pooling)
    embedding.flags.writeable = False
    return RequestOutput(
        request_id=str(key), prompt=None, prompt_token_ids=(), outputs=(completion,), embedding=embedding
    )
