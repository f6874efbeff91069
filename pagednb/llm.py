"""``LLM``: vLLM's offline class, on the engine of this process.

``pagednb.load`` keeps one of these for the kernel; scripts may make their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, get_args

from pagednb import envs
from pagednb.beam_search_params import BeamSearchParams
from pagednb.checks import require, require_flags
from pagednb.config import EngineConfig
from pagednb.engine.beam_search import beam_search
from pagednb.engine.chat_layout import conversations_of, template_arguments
from pagednb.engine.embedding import as_embedding, as_score, embed
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.named_figures import Metric, named_figures
from pagednb.engine.progress import load_bar, prompt_bar
from pagednb.engine.token_prompt import as_prompt_list
from pagednb.errors import NotSupportedYetError, OptionError
from pagednb.outputs import BeamSearchOutput, Embedding, PoolingOutput, RequestOutput, Score
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams
from pagednb.vllm_methods import METHODS_NOT_BUILT_YET, MethodNotBuiltError, refuse_other_arguments

if TYPE_CHECKING:
    from pagednb.engine.status import EngineStatus
    from pagednb.engine.token_prompt import Prompt

Message = Mapping[str, Any]

_SLEEPING_PARTS = {"weights", "kv_cache"}


class LLM:
    """A model with an engine of its own.

    Options are vLLM's, by keyword: ``dtype``, ``device``, ``max_model_len``, ``gpu_memory_utilization``,
    ``max_num_seqs``, ``enable_prefix_caching``, ``seed`` and more. ``help(pagednb.config.EngineConfig)`` explains all.
    Methods take vLLM's arguments; ``others`` are those that pass only where they ask for nothing.

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
        **others: Any,
    ) -> list[RequestOutput]:
        """Return one output per prompt, in order.

        A prompt is text, a list of token ids, or ``{"prompt": text}`` or ``{"prompt_token_ids": ids}``; one alone or a
        list of them. Without ``sampling_params`` the model's own defaults hold: vLLM's, so at most 16 new
        tokens, changed by what its authors recommend. An output that reaches ``max_tokens`` or ``max_model_len`` ends
        there with finish reason "length". ``use_tqdm=False`` shows no bar.

        Raises:
            PagednbError: a prompt or parameter that cannot be run; no output is returned then.
        """
        refuse_other_arguments(LLM.generate, others)
        prompt_list = as_prompt_list(prompts)
        params = self.get_default_sampling_params() if sampling_params is None else sampling_params
        with prompt_bar(len(prompt_list), is_shown=use_tqdm and envs.show_progress()) as progress:
            return self.engine.generate(prompt_list, params, progress=progress)

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
        *,
        chat_template: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> list[RequestOutput]:
        """Answer a conversation, or each of a list of conversations; messages are OpenAI's dicts.

        ``sampling_params`` as in ``generate``. ``chat_template``, a text, takes the place of the model's own; ``tools``
        and switches in ``chat_template_kwargs`` must be what it reads. Calls of tools stand in the answer's text.
        ``add_generation_prompt=False`` leaves out the template's opening of the answer, and with
        ``continue_final_message=True`` the answer goes on with the last message.

        Raises:
            PagednbError: as ``generate``; also when the model has no chat template.
        """
        refuse_other_arguments(LLM.chat, others)
        arguments = template_arguments(
            self.engine.tokenizer,
            chat_template=chat_template,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            chat_template_kwargs=chat_template_kwargs,
        )
        prompts = [self.engine.chat_prompt(each, **arguments) for each in conversations_of(messages)]
        return self.generate(prompts, sampling_params, use_tqdm)

    def beam_search(
        self, prompts: Prompt | Sequence[Prompt], params: BeamSearchParams, **others: Any
    ) -> list[BeamSearchOutput]:
        """Return the ``beam_width`` most likely answers to each prompt, the best first, as transformers finds them.

        Beams share the KV blocks of what they have in common. Answers are ranked by their own length, without the
        prompt's; ``tokens`` and ``text`` begin with the prompt, as in vLLM.

        Raises:
            PagednbError: as ``generate``; also for a ``beam_width`` of more than about 19.
        """
        refuse_other_arguments(LLM.beam_search, others)
        if not isinstance(params, BeamSearchParams):
            raise OptionError(
                f"Parameters of type {type(params).__name__} are not valid.", hint="Give BeamSearchParams(...)."
            )
        return beam_search(self.engine, as_prompt_list(prompts), params)

    def embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        pooling: Pooling = "last",
        normalize: bool = True,
        truncate_prompt_tokens: int | None = None,
        **others: Any,
    ) -> list[PoolingOutput[Embedding]]:
        """Return each prompt as a vector of the model's last hidden states: the last token's, the first's, or the mean.

        A model that writes text was not made for this; what it gives is a start. ``normalize`` makes them of length 1.

        Raises:
            PagednbError: as ``generate``; a prompt needs room for one more token.
        """
        refuse_other_arguments(LLM.embed, others)
        require_flags(normalize=normalize)
        require(pooling in get_args(Pooling), "pooling", pooling, f"one of {get_args(Pooling)}")
        outputs = embed(
            self.engine, as_prompt_list(prompts), pooling=pooling, truncate_prompt_tokens=truncate_prompt_tokens
        )
        return [as_embedding(output, normalize=normalize) for output in outputs]

    def encode(
        self, prompts: Prompt | Sequence[Prompt], *, normalize: bool = False, **options: Any
    ) -> list[PoolingOutput[Embedding]]:
        """Return what ``embed`` does, as long as the model made the vectors. Raises as that."""
        return self.embed(prompts, normalize=normalize, **options)

    def score(
        self,
        text_1: Prompt | Sequence[Prompt],
        text_2: Prompt | Sequence[Prompt],
        *,
        pooling: Pooling = "last",
        truncate_prompt_tokens: int | None = None,
        **others: Any,
    ) -> list[PoolingOutput[Score]]:
        """Return how alike texts are, -1 to 1: the cosine of their embeddings, one text with each or pair by pair.

        Raises:
            OptionError: the lists are of different lengths, and the first is no single text.
            PagednbError: as ``embed``.
        """
        refuse_other_arguments(LLM.score, others)
        first, second = as_prompt_list(text_1), as_prompt_list(text_2)
        if len(first) not in (1, len(second)):
            raise OptionError(f"{len(first)} texts cannot be paired with {len(second)}.", hint="Give as many, or one.")
        embedded = self.embed([*first, *second], pooling=pooling, truncate_prompt_tokens=truncate_prompt_tokens)
        ones, rest = embedded[: len(first)], embedded[len(first) :]
        return [as_score(*pair) for pair in zip(ones * (len(rest) // len(ones) if ones else 0), rest, strict=True)]

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
        is_list = isinstance(tags, Sequence | None) and not isinstance(tags, str)
        require(is_list, "tags", tags, "a list, or left out")
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
        if name in METHODS_NOT_BUILT_YET:
            raise MethodNotBuiltError(f"LLM.{name} is not built yet.", hint=METHODS_NOT_BUILT_YET[name])
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
