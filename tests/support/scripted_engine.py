"""An engine without a model, for surfaces that ask for one completion: it remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from pagednb.outputs import CompletionOutput, RequestOutput
from pagednb.sampling_params import SamplingParams


class ScriptedEngine:
    """Answers every prompt with ``answer``, a word a step; ``fault`` is raised in the place of the last word."""

    def __init__(self, *, answer: str = "one two three", has_chat_template: bool = True) -> None:
        self.answer = answer
        self.has_chat_template = has_chat_template
        self.fault: BaseException | None = None
        self.resolved = SimpleNamespace(generation_config={}, name="scripted")
        self.template = "{{ messages }}"
        self.tokenizer = SimpleNamespace(get_chat_template=lambda: self.template)
        self.template_kwargs: list[dict[str, Any]] = []
        self.num_cancelled = 0
        self.asked: list[tuple[str, SamplingParams]] = []
        self.num_open_streams = 0

    def cancel_all(self) -> int:
        self.num_cancelled += 1
        return 3

    def chat_prompt(self, messages: Sequence[dict[str, str]], **template_kwargs: Any) -> dict[str, str]:
        self.template_kwargs.append(template_kwargs)
        text = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        return {"prompt": f"{text}<assistant>"}

    def generate(self, prompts: Sequence[Any], params: SamplingParams) -> list[RequestOutput]:
        return [list(self.stream(prompt, params))[-1] for prompt in prompts]

    def stream(self, prompt: Any, params: SamplingParams) -> Iterator[RequestOutput]:
        prompt = prompt if isinstance(prompt, str) else prompt["prompt"]
        self.asked.append((prompt, params))
        words = self.answer.split()
        self.num_open_streams += 1
        try:
            for count in range(1, len(words) + 1):
                if self.fault is not None and count == len(words):
                    raise self.fault
                yield self._output(prompt, " ".join(words[:count]), is_finished=count == len(words))
        finally:
            self.num_open_streams -= 1

    def _output(self, prompt: str, text: str, *, is_finished: bool) -> RequestOutput:
        reason: Any = "stop" if is_finished else None
        completion = CompletionOutput(index=0, text=text, token_ids=tuple(text.encode()), finish_reason=reason)
        return RequestOutput(
            request_id="0", prompt=prompt, prompt_token_ids=(1,), outputs=(completion,), finished=is_finished
        )
