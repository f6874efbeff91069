"""One loaded model, as all surfaces use it: text and token ids in, ``RequestOutput`` out.

Every method may be called from any thread and blocks only its caller. The work happens on the engine thread.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pagednb.config import EngineConfig
from pagednb.engine.batch import OnOutputs, generate_batch
from pagednb.engine.build import EngineBuilder, ModelEngineBuilder, Progress
from pagednb.engine.call import Call
from pagednb.engine.checked_prompts import checked_prompts
from pagednb.engine.core_service import CoreService
from pagednb.engine.input_processor import InputProcessor
from pagednb.engine.loading import build_engine, wake_up
from pagednb.engine.loop import EngineLoop
from pagednb.engine.output_processor import OutputProcessor
from pagednb.engine.status import EngineStatus
from pagednb.engine.token_prompt import Prompt, TokenPrompt
from pagednb.errors import OptionError
from pagednb.outputs import RequestOutput
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams
from pagednb.sleep_state import SleepState, sleep_level

if TYPE_CHECKING:
    import numpy as np

    from pagednb.engine.mailbox import Mailbox
    from pagednb.engine.tokenization import TextCodec


class LLMEngine:
    """Loads a model and serves it until ``shutdown``, or until the last reference to this object is gone.

    ``progress`` is called on this thread with (bytes loaded, bytes in all). ``resolved`` describes the model;
    ``max_num_seqs`` sequences run at once.

    Raises:
        PagednbError: what is wrong with the options, the model or the memory; nothing stays behind.
    """

    def __init__(
        self, config: EngineConfig, *, progress: Progress | None = None, builder: EngineBuilder | None = None
    ) -> None:
        builder = builder or ModelEngineBuilder(config)
        self.config = config
        self.resolved = builder.resolve()
        self._loop = EngineLoop()
        # the engine thread knows the loop but not this object, so that forgetting the object can end the thread
        weakref.finalize(self, self._loop.stop).atexit = False
        parts, self._codec = build_engine(builder, self.resolved, self._loop, progress)
        self.geometry = parts.geometry
        self.max_num_seqs = parts.max_num_seqs
        self._memory_now = parts.memory_now
        self._input_processor = InputProcessor(
            self._codec,
            parts.geometry,
            vocab_size=self.resolved.spec.vocab_size,
            seed=config.seed,
            enable_prefix_caching=config.enable_prefix_caching,
            eos_token_ids=tuple(self.resolved.eos_token_ids),
        )

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer. Raises OptionError if the engine was loaded without one."""
        return self._require_codec().tokenizer

    @property
    def has_tokenizer(self) -> bool:
        """Whether the engine takes and gives text."""
        return self._codec is not None

    @property
    def has_chat_template(self) -> bool:
        """Whether the model takes chat messages."""
        return self._codec is not None and self._codec.has_chat_template

    @property
    def added_tokens(self) -> dict[int, str]:
        """Tokens at which the tokenizer splits text first, by id. Raises OptionError as ``tokenizer``."""
        return self._require_codec().added_tokens

    @property
    def is_over(self) -> bool:
        """Whether the engine was shut down or died: it will never answer again."""
        return self._loop.is_over

    @property
    def asleep(self) -> SleepState | None:
        """How the engine sleeps; None while it is awake. See ``sleep``."""
        return self._loop.asleep

    def encode(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[np.ndarray]:
        """Return the token ids, int32, of each text; a text that begins with the BOS token gets no second one.

        Raises:
            PromptError: a text that is not valid Unicode.
            OptionError: the engine has no tokenizer.
        """
        return self._require_codec().encode(texts, add_special_tokens=add_special_tokens)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids. Raises OptionError as ``tokenizer``."""
        return self._require_codec().decoder.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def tokenize(self, prompts: Sequence[Prompt]) -> list[TokenPrompt]:
        """Return prompts as the engine takes them. Raises PagednbError as ``InputProcessor.tokenize``."""
        return self._input_processor.tokenize(prompts)

    def render_chat(self, messages: Sequence[Mapping[str, Any]], **template_kwargs: Any) -> str:
        """Lay chat messages out as the model's template wants them, up to where the answer begins.

        Raises:
            PromptError: malformed messages, or messages that the template refuses.
            OptionError: the model has no chat template or no tokenizer.
        """
        return self._require_codec().render_chat(messages, **template_kwargs)

    def render_chats(self, conversations: Sequence[Sequence[Mapping[str, Any]]], **template_kwargs: Any) -> list[str]:
        """Lay out many conversations as ``render_chat`` does one. Raises as that; all are lost then."""
        return self._require_codec().render_chats(conversations, **template_kwargs)

    def chat_prompt(self, messages: Sequence[Mapping[str, Any]], **template_kwargs: Any) -> dict[str, Any]:
        """Return ``render_chat``'s text with its token ids: the template has written all special tokens itself."""
        text = self.render_chat(messages, **template_kwargs)
        return {"prompt": text, "prompt_token_ids": self.encode([text], add_special_tokens=False)[0]}

    def default_sampling_params(self, **overrides: Any) -> SamplingParams:
        """Return sampling parameters as the model's authors recommend them in its generation config."""
        return SamplingParams(**{**self.resolved.generation_config, **overrides})

    def compile_constraint(self, params: SamplingParams) -> None:
        """Compile the constraint of ``params`` ahead of requests, which find it done. Raises as ``Call.submit``."""
        self._input_processor.compile(params)

    def open_call(
        self,
        *,
        stream: bool = False,
        priority: int = 0,
        returns_prompts: bool = True,
        deltas: bool = False,
        mailbox: Mailbox | None = None,
        pooling: Pooling | None = None,
    ) -> Call[Any]:
        """Return a ``Call`` to submit requests to, in a ``with`` block. Lower priorities run first.

        Without ``returns_prompts`` outputs lack their prompts: it takes time to make Python numbers of all tokens. With
        ``deltas`` a stream's outputs hold only what is new. News arrive in ``mailbox``, if one is given. Under
        ``pooling`` outputs bring the embeddings of their prompts. Raises EngineDeadError or EngineAsleepError.
        """
        self._loop.raise_if_unable()
        decoder = None if self._codec is None else self._codec.decoder
        outputs = OutputProcessor(decoder, returns_prompts=returns_prompts, deltas=deltas)
        return Call(
            self._loop,
            self._input_processor,
            outputs,
            decoder,
            stream=stream,
            priority=priority,
            mailbox=mailbox,
            pooling=pooling,
        )

    def generate(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams],
        *,
        progress: OnOutputs | None = None,
    ) -> list[RequestOutput]:
        """Return the outputs in the order of ``prompts``; ``progress`` gets them as they finish.

        All prompts are encoded and checked while the first run; the engine is given as many as keep it busy.

        Raises:
            PagednbError: as ``Call.submit`` and ``Call.poll``.
        """
        checked = checked_prompts(self._input_processor, prompts, params)
        with self.open_call() as call:
            return generate_batch(call, checked, len(prompts), max_pending=2 * self.max_num_seqs, progress=progress)

    def stream(self, prompt: Prompt, params: SamplingParams) -> Generator[RequestOutput, None, None]:
        """Yield the output as it grows, each time from its beginning; the last one is ``finished``.

        Closing the generator early aborts the request.
        """
        with self.open_call(stream=True) as call:
            call.submit(None, prompt, params)
            for _, output in call.results():
                yield output

    def cancel_all(self) -> int:
        """End everything that is under way, whoever asked for it; return how many sequences that were.

        Every waiting caller gets RequestCancelledError. A call that has nothing under way at this moment goes on.
        """
        return self._loop.cancel_all()

    def status(self) -> EngineStatus:
        """Return the figures of this moment. Raises EngineDeadError if the engine is over."""

        def look(service: CoreService) -> EngineStatus:
            max_model_len, memory = self.geometry.max_model_len, self._memory_now()
            return EngineStatus.of(
                service.core, service.counters, resolved=self.resolved, max_model_len=max_model_len, memory=memory
            )

        return self._loop.call(look)

    def check_integrity(self) -> None:
        """Prove the books of scheduler and KV cache between two steps; raises AssertionError with numbers."""
        self._loop.call(lambda service: service.core.scheduler.check_integrity())

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes that no running request uses."""
        self._loop.call(lambda service: service.core.scheduler.reset_prefix_cache())

    def sleep(self, level: int = 1) -> None:
        """Give the device back until ``wake_up``; cached prefixes are forgotten, all else stays.

        At level 1 the weights wait in host memory; at level 2 they are dropped and read again. From 1 to 2 is a step
        down; the level that holds already changes nothing. An interrupt ends the waiting, not the sleep.

        Raises:
            OptionError: another level; or level 1 when it sleeps at level 2.
            EngineBusyError: requests are under way; they go on.
            GPUMemoryError: the host has no room for the weights; the engine stays awake.
            EngineDeadError: the engine is over.
        """
        self._loop.sleep(sleep_level(level))

    def wake_up(self, *, progress: Progress | None = None) -> None:
        """Take the device again, with as many KV blocks as before. Does nothing when awake.

        ``progress`` is called on this thread with (bytes loaded, bytes in all). An interrupt, or what ``progress``
        raises while weights arrive, leaves the engine asleep, to be woken up later.

        Raises:
            GPUMemoryError: others have taken the memory meanwhile.
            ModelLoadError, WeightError: at level 2, the checkpoint is gone or broken.
            EngineDeadError: the engine is over.
        """
        wake_up(self._loop, progress)

    def shutdown(self) -> None:
        """End the engine thread and free the device. Waiting callers get EngineDeadError. Safe to call twice."""
        self._loop.shutdown()

    def _require_codec(self) -> TextCodec:
        if self._codec is None:
            raise OptionError("This engine was loaded with skip_tokenizer_init=True and has no tokenizer.")
        return self._codec
