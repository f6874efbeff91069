"""A whole ``LLMEngine`` whose model says one text, whatever it is asked, with a chat template of one's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import tokenizers
from support.engine_rig import EOS_TOKEN_ID, RigBuilder, RigExecutor
from support.tiny_tokenizers import BOS, EOS, byte_level_backend
from transformers import PreTrainedTokenizerFast

from pagednb.config import EngineConfig
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.tokenization import TextCodec
from pagednb.scheduler.output import SchedulerOutput

PLAIN_TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


class ScriptExecutor(RigExecutor):
    """Samples the tokens of a script, then the end."""

    def __init__(self, token_ids: list[int]) -> None:
        super().__init__()
        self.prompts: list[list[int]] = []
        self._script = [*token_ids, EOS_TOKEN_ID]
        self._starts: dict[int, int] = {}

    def execute(self, plan: SchedulerOutput) -> Any:
        for admission in plan.admissions:
            self._starts[admission.row] = len(admission.token_ids)
            self.prompts.append(admission.token_ids.tolist())
        return super().execute(plan)

    def _sample(self, row: int) -> int:
        seed, length = self._rows[row]
        self._rows[row] = (seed, length + 1)
        return self._script[length - self._starts[row]]


@dataclasses.dataclass
class ScriptBuilder(RigBuilder):
    """Builds the engine; ``added_tokens`` are known to its tokenizer as tokens of their own."""

    max_model_len: int = 2048
    num_blocks: int = 1025
    max_num_batched_tokens: int = 2048
    chat_template: str = PLAIN_TEMPLATE
    added_tokens: tuple[str, ...] = ()

    def load_codec(self, resolved: Any) -> TextCodec:
        backend = tokenizers.Tokenizer.from_str(byte_level_backend().to_str())
        backend.add_tokens(list(self.added_tokens))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS)
        tokenizer.chat_template = self.chat_template
        return TextCodec(tokenizer)


def scripted_model(text: str, **options: Any) -> tuple[LLMEngine, ScriptExecutor]:
    """Return a running engine that answers ``text``, and its executor, which keeps the prompts."""
    executor = ScriptExecutor(byte_level_backend().encode(text, add_special_tokens=False).ids)
    return LLMEngine(EngineConfig(), builder=ScriptBuilder(executor=executor, **options)), executor


def texts_of(executor: ScriptExecutor) -> list[str]:
    """Return the prompts that the model was given, as texts."""
    return [byte_level_backend().decode(prompt, skip_special_tokens=True) for prompt in executor.prompts]
