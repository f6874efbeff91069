"""``LLM``: vLLM's offline class, on the engine of this process.

``pagednb.load`` keeps one of these for the kernel; scripts may make their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, get_args

from pagednb import envs
from pagednb.beam_search_params import BeamSearchParams
from pagednb.checks import require, require_flags
from pagednb.config import EngineConfig
from pagednb.engine.beam_search import beam_search
from pagednb.engine.embedding import as_embedding, as_score, embed
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.named_figures import Metric, named_figures
from pagednb.engine.progress import load_bar, prompt_bar
from pagednb.errors import NotSupportedYetError, OptionError, PromptError
from pagednb.outputs import BeamSearchOutput, Embedding, PoolingOutput, RequestOutput, Score
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.status import EngineStatus
    from pagednb.engine.token_prompt import Prompt

Message = Mapping[str, Any]

_POOLING = "Only models that write text are served."
_NOT_BUILT_YET = {
    "classify": "frame.llm.classify sorts texts into labels with a model that writes text.",
    "reward": _POOLING,
}
"""Methods of vLLM's class, each with what to do instead."""
_SLEEPING_PARTS = {"weights", "kv_cache"}


class MethodNotBuiltError(NotSupportedYetError, AttributeError):
    """A method of vLLM's class that is not built yet; to ``hasattr`` it is not there."""


class LLM:
    """A model with an engine of its own.

    Options are vLLM's, by keyword: ``dtype``, ``device``, ``max_model_len``, ``gpu_memory_utilization``,
    ``max_num_seqs``, ``enable_prefix_caching``, ``seed`` and more. ``help(pagednb.config.EngineConfig)`` explains all.

    With ``skip_tokenizer_init=True`` prompts are token ids and texts of outputs stay empty. The engine ends with
    ``shutdown``, at the end of a ``with`` block, or when the object is forgotten.

    Raises:
        PagednbError: what is wrong with the options, the model or the memory; nothing stays behind.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, **options: Any) -> None:
        config = EngineConfig.from_options({"model": model, **options})
        with load_bar(is_shown=envs.show_progress()) as progress:
            self.engine = LLMEngine(config, progress=progress)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """Return one output per prompt, in order.

        A prompt is text, a list of token ids, or ``{"prompt": text}`` or ``{"prompt_token_ids": ids}``; one alone or a
        list of them. Without ``sampling_params`` the model's own defaults hold: vLLM's, so at most 16 new
        tokens, changed by what its authors recommend. An output that reaches ``max_tokens`` or ``max_model_len`` ends
        there with finish reason "length". ``use_tqdm=False`` shows no bar.

        Raises:
            PagednbError: a prompt or parameter that cannot be run; no output is returned then.
        """
        prompt_list = _as_list(prompts)
        params = self.get_default_sampling_params() if sampling_params is None else sampling_params
        with prompt_bar(len(prompt_list), is_shown=use_tqdm and envs.show_progress()) as progress:
            return self.engine.generate(prompt_list, params, progress=progress)

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
        *,
        add_generation_prompt: bool = True,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        """Answer a conversation, or each of a list of conversations; messages are OpenAI's dicts.

        ``sampling_params`` as in ``generate``. ``add_generation_prompt=False`` leaves out the template's opening of the
        answer; ``chat_template_kwargs`` are switches of the model's own template.

        Raises:
            PagednbError: as ``generate``; also when the model has no chat template.
        """
        conversations = messages if _is_batch(messages) else [messages]
        kwargs = {"add_generation_prompt": add_generation_prompt, **(chat_template_kwargs or {})}
        prompts = [self.engine.chat_prompt(conversation, **kwargs) for conversation in conversations]  # type: ignore[arg-type]
        return self.generate(prompts, sampling_params, use_tqdm)

    def beam_search(self, prompts: Prompt | Sequence[Prompt], params: BeamSearchParams) -> list[BeamSearchOutput]:
        """Return the ``beam_width`` most likely answers to each prompt, the best first, as transformers finds them.

        Beams share the KV blocks of what they have in common. Answers are ranked by their own length, without the
        prompt's; ``tokens`` and ``text`` begin with the prompt, as in vLLM.

        Raises:
            PagednbError: as ``generate``; also for a ``beam_width`` of more than about 19.
        """
        if not isinstance(params, BeamSearchParams):
            raise OptionError(
                f"Parameters of type {type(params).__name__} are not valid.", hint="Give BeamSearchParams(...)."
            )
        return beam_search(self.engine, _as_list(prompts), params)

    def embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        pooling: Pooling = "last",
        normalize: bool = True,
        truncate_prompt_tokens: int | None = None,
    ) -> list[PoolingOutput[Embedding]]:
        """Return each prompt as a vector of the model's last hidden states: the last token's, the first's, or the mean.

        A model that writes text was not made for this; what it gives is a start. ``normalize`` makes them of length 1.

        Raises:
            PagednbError: as ``generate``; a prompt needs room for one more token.
        """
        require_flags(normalize=normalize)
        require(pooling in get_args(Pooling), "pooling", pooling, f"one of {get_args(Pooling)}")
        outputs = embed(self.engine, _as_list(prompts), pooling=pooling, truncate_prompt_tokens=truncate_prompt_tokens)
        return [as_embedding(output, normalize=normalize) for output in outputs]

    def encode(
        self, prompts: Prompt | Sequence[Prompt], *, pooling: Pooling = "last", normalize: bool = False
    ) -> list[PoolingOutput[Embedding]]:
        """Return what ``embed`` does, as long as the model made the vectors. Raises as that."""
        return self.embed(prompts, pooling=pooling, normalize=normalize)

    def score(
        self, text_1: Prompt | Sequence[Prompt], text_2: Prompt | Sequence[Prompt], *, pooling: Pooling = "last"
    ) -> list[PoolingOutput[Score]]:
        """Return how alike texts are, -1 to 1: the cosine of their embeddings, one text with each or pair by pair.

        Raises:
            OptionError: the lists are of different lengths, and the first is no single text.
            PagednbError: as ``embed``.
        """
        first, second = _as_list(text_1), _as_list(text_2)
        if len(first) not in (1, len(second)):
            raise OptionError(f"{len(first)} texts cannot be paired with {len(second)}.", hint="Give as many, or one.")
        embedded = self.embed([*first, *second], pooling=pooling)
        ones, others = embedded[: len(first)], embedded[len(first) :]
        return [as_score(*pair) for pair in zip(ones * (len(others) // len(ones) if ones else 0), others, strict=True)]

    def get_tokenizer(self) -> Any:
        """Return transformers' tokenizer of the model."""
        return self.engine.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """Return vLLM's defaults with what the model's generation config recommends."""
        return self.engine.default_sampling_params()

    def status(self) -> EngineStatus:
        """Return what the engine is doing, as a table."""
        return self.engine.status()

    def get_metrics(self) -> list[Metric]:
        """Return the engine's figures of this moment, under vLLM's names where it has them."""
        return named_figures(self.engine.status())

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes that no running request uses."""
        self.engine.reset_prefix_cache()

    def sleep(self, level: int = 1) -> None:
        """Give the GPU's memory back until ``wake_up``; calls raise EngineAsleepError meanwhile, all else stays.

        At level 1 the weights wait in host memory, at level 2 they are dropped and read again. Cached prefixes are
        forgotten at both.

        Raises:
            OptionError: another level; or level 1 when it sleeps at level 2.
            EngineBusyError: requests are under way; they go on.
            GPUMemoryError: the host has no room for the weights; the engine stays awake.
        """
        self.engine.sleep(level)

    def wake_up(self, tags: Sequence[str] | None = None) -> None:
        """Take the GPU's memory again, with as many KV blocks as before. Does nothing when awake.

        Everything wakes up together: ``tags`` may be None or name both "weights" and "kv_cache". An interrupt leaves
        the engine asleep.

        Raises:
            GPUMemoryError: others have taken the memory; the engine stays asleep, to be woken up later.
            PagednbError: at level 2, what is wrong with the checkpoint.
        """
        if tags is not None and set(tags) != _SLEEPING_PARTS:
            raise NotSupportedYetError(f"wake_up(tags={tags!r}) is not built yet.", hint="Leave it out: all wakes up.")
        with load_bar(is_shown=envs.show_progress()) as progress:
            self.engine.wake_up(progress=progress)

    def is_sleeping(self) -> bool:
        """Whether the engine sleeps."""
        return self.engine.asleep is not None

    def shutdown(self) -> None:
        """End the engine and give its memory back. Safe to call twice."""
        self.engine.shutdown()

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse in a sentence what vLLM's class has and this one has not yet; anything else does not exist."""
        if name in _NOT_BUILT_YET:
            raise MethodNotBuiltError(f"LLM.{name} is not built yet.", hint=_NOT_BUILT_YET[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        resolved = self.engine.resolved
        return f"LLM({resolved.name!r}, dtype={resolved.dtype!r}, device={resolved.device!r})"


def _is_batch(messages: Any) -> bool:
    """Whether ``messages`` is a list of conversations; what is neither that nor one conversation is refused as one."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        return False
    return isinstance(messages[0], Sequence)


def _as_list(prompts: Any) -> list[Any]:
    """Return prompts as a list: one prompt alone may be text, a dict, or token ids."""
    if isinstance(prompts, str | Mapping):
        return [prompts]
    # bytes are numbers to Python, and would pass for token ids
    if not isinstance(prompts, Iterable) or isinstance(prompts, bytes | bytearray):
        raise PromptError(
            f"Prompts of type {type(prompts).__name__} are not valid.", hint="Give a text, or a list of prompts."
        )
    prompt_list = list(prompts)
    if prompt_list and all(isinstance(item, Integral) for item in prompt_list):
        return [prompt_list]
    return prompt_list
