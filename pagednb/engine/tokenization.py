"""The model's tokenizer: loading it, text to token ids, chat messages to text.

The tokenizer's Rust backend is used directly: unlike transformers' wrapper it may be called from several threads at
once, and in batches. Called on callers' threads only.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pagednb.engine.batch_encoder import BatchEncoder
from pagednb.engine.detokenizer import TextDecoder
from pagednb.errors import ModelLoadError, OptionError, PromptError
from pagednb.structured_output.compiler import GrammarCompiler

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from pagednb.config import EngineConfig

# (model_type, the class that tokenizer_config.json names, less "Fast") -> the class that AutoTokenizer chooses;
# importing AutoTokenizer itself takes 0.7 s, or 5 s with versions of transformers that bring torch's compiler along
_KNOWN_CHOICES = {
    **{(model_type, "PreTrainedTokenizer"): "PreTrainedTokenizerFast" for model_type in ("llama", "qwen3")},
    # what transformers 5 calls the same class, and writes into every folder where it saves one
    **{(model_type, "TokenizersBackend"): "PreTrainedTokenizerFast" for model_type in ("llama", "qwen3")},
    **{(model_type, "Qwen2Tokenizer"): "Qwen2Tokenizer" for model_type in ("qwen2", "qwen3")},
    **{(model_type, "GPT2Tokenizer"): "GPT2Tokenizer" for model_type in ("gpt2", "opt")},
}


class TextCodec:
    """Encodes and decodes with one tokenizer, ``tokenizer`` (transformers' object)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.decoder = TextDecoder(tokenizer.backend_tokenizer)
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.encoder = BatchEncoder(self._backend)

    def encode(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[np.ndarray]:
        """Return the token ids, int32, of each text.

        Special tokens are added where the tokenizer adds them; a text that begins with the BOS token, as rendered chat
        templates do, does not get a second one. What all texts begin with is encoded once.

        Raises:
            PromptError: a text that is not valid Unicode.
        """
        bos = self.tokenizer.bos_token
        has_bos = [bool(bos) and text.startswith(bos) for text in texts]
        ids: list[np.ndarray] = [np.empty(0, np.int32)] * len(texts)
        for adds in (True, False):
            chosen = [i for i, has in enumerate(has_bos) if (add_special_tokens and not has) is adds]
            for i, token_ids in zip(chosen, self._encode([texts[i] for i in chosen], adds), strict=True):
                ids[i] = token_ids
        return ids

    def _encode(self, texts: list[str], add_special_tokens: bool) -> list[np.ndarray]:
        try:
            return self.encoder.encode(texts, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeEncodeError) as error:
            raise PromptError(
                "A prompt is not valid Unicode (it holds a lone surrogate).",
                hint="Clean it with text.encode('utf-8', 'replace').decode().",
            ) from error

    def tokens_of_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each word, as it stands at the beginning of a text and after a space."""
        texts = [text for word in words for text in (word.strip(), f" {word.strip()}")]
        encoded = [token_ids.tolist() for token_ids in self.encode(texts, add_special_tokens=False)]
        return [token_ids for token_ids in encoded if token_ids]

    def grammar_compiler(self, vocab_size: int, eos_token_ids: tuple[int, ...]) -> GrammarCompiler:
        """Return what compiles constraints for this tokenizer and a model of ``vocab_size`` tokens."""
        return GrammarCompiler(self._backend, vocab_size=vocab_size, eos_token_ids=eos_token_ids)

    def end_of_thinking(self, token_ids: np.ndarray) -> int | None:
        """Return the token ``</think>`` if a prompt, int ``[num_tokens]``, ends inside ``<think>``; else None."""
        begin, end = (self._backend.token_to_id(text) for text in ("<think>", "</think>"))
        if begin is None or end is None:
            return None
        marks = token_ids[(token_ids == begin) | (token_ids == end)]
        return int(end) if len(marks) > 0 and int(marks[-1]) == begin else None

    @property
    def added_tokens(self) -> dict[int, str]:
        """Tokens at which text is split before anything else is done with it, by id: a special token is one."""
        added = self._backend.get_added_tokens_decoder().items()
        # whether one that must be a word of its own counts depends on what stands beside it
        return {token_id: token.content for token_id, token in added if not token.single_word}

    @property
    def has_chat_template(self) -> bool:
        """Whether the model was made for chat messages."""
        return bool(self.tokenizer.chat_template)

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **template_kwargs: Any
    ) -> str:
        """Lay messages out as the model's chat template wants them. Raises as ``render_chats``."""
        return self.render_chats([messages], add_generation_prompt=add_generation_prompt, **template_kwargs)[0]

    def render_chats(
        self,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        *,
        add_generation_prompt: bool = True,
        **template_kwargs: Any,
    ) -> list[str]:
        """Lay out many conversations, which takes less time than one after the other.

        Raises:
            OptionError: the model has no chat template.
            PromptError: malformed messages, or messages that the template refuses; all are lost then.
        """
        if not self.has_chat_template and "chat_template" not in template_kwargs:
            raise OptionError("This model has no chat template.", hint="Give it plain prompts, or load a chat model.")
        for messages in conversations:
            check_messages(messages)
        try:
            texts: Any = self.tokenizer.apply_chat_template(
                [list(messages) for messages in conversations],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **template_kwargs,
            )
        except Exception as error:  # the model's own template runs here and may raise anything
            raise PromptError(
                f"The model's chat template refuses these messages: {error}.",
                hint="Each needs a role and a content, which for most models is a text.",
            ) from error
        assert isinstance(texts, list)
        return texts


def check_messages(messages: Any) -> None:
    """Raise PromptError unless ``messages`` is a list of dicts with a role."""
    is_list = isinstance(messages, list | Sequence) and not isinstance(messages, str) and len(messages) > 0
    # the usual types first: asking an abstract class takes ten times as long
    if not is_list or not all(isinstance(m, dict | Mapping) and isinstance(m.get("role"), str) for m in messages):
        raise PromptError(
            "Chat messages are malformed.", hint='Give a list like [{"role": "user", "content": "Hello"}].'
        )


def load_text_codec(config: EngineConfig, folder: pathlib.Path, model_type: str) -> TextCodec | None:
    """Load the tokenizer from ``config.tokenizer`` or else the model's folder; None under ``skip_tokenizer_init``.

    ``model_type`` is that of the model in ``folder``.

    Raises:
        ModelLoadError: there is none, it is broken, or it has no fast implementation.
    """
    if config.skip_tokenizer_init:
        return None
    source = folder if config.tokenizer is None else config.tokenizer
    try:
        tokenizer = _load_tokenizer(source, None if config.tokenizer is not None else model_type)
    except Exception as error:  # transformers and its Rust backend raise anything for a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelLoadError(
            f"The tokenizer in {str(source)!r} cannot be loaded: {reason}",
            hint="Name another with tokenizer=, or give token ids with skip_tokenizer_init=True.",
        ) from error
    if not tokenizer.is_fast:
        raise ModelLoadError(
            f"The tokenizer in {str(source)!r} has no fast implementation.",
            hint="Save one with tokenizer.json, and name it with tokenizer=.",
        )
    return TextCodec(tokenizer)


def _load_tokenizer(source: Any, model_type: str | None) -> Any:
    """Load transformers' tokenizer from ``source``; without a ``model_type`` nothing is known of what lies there."""
    import transformers

    choice = None if model_type is None else _KNOWN_CHOICES.get((model_type, _named_class(source)))
    if choice is None:
        return transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    return getattr(transformers, choice).from_pretrained(source)


def _named_class(folder: pathlib.Path) -> str:
    """Return the tokenizer class that a folder names for its ``tokenizer.json``, or an empty text."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    is_plain = isinstance(settings, dict) and "auto_map" not in settings and (folder / "tokenizer.json").is_file()
    return str(settings.get("tokenizer_class")).removesuffix("Fast") if is_plain else ""
