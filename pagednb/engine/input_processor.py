"""From a prompt and sampling parameters to requests, checked against what this model and cache can hold.

Runs on the caller's thread, so that a mistake raises where it was made and before the engine thread hears of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pagednb.config import CacheGeometry
from pagednb.engine.seeds import as_int64, mix64
from pagednb.engine.token_prompt import Prompt, TokenPrompt, kept_part, split_prompt
from pagednb.engine.tokenization import TextCodec
from pagednb.errors import ContextLengthError, OptionError, PromptError
from pagednb.kv_cache.prefix_cache import BlockHasher
from pagednb.request import Pooling, Request
from pagednb.sampling_params import SamplingParams
from pagednb.structured_output.matcher import TokenGrammar
from pagednb.structured_output.token_rules import TokenRules


class InputProcessor:
    """Makes requests for one engine. Safe to use from several threads."""

    def __init__(
        self,
        codec: TextCodec | None,
        geometry: CacheGeometry,
        *,
        vocab_size: int,
        seed: int,
        enable_prefix_caching: bool = True,
        eos_token_ids: tuple[int, ...] = (),
    ) -> None:
        self._codec = codec
        self._grammars = None if codec is None else codec.grammar_compiler(vocab_size, eos_token_ids)
        self._eos_token_ids = eos_token_ids
        self._hasher = BlockHasher(geometry.block_size) if enable_prefix_caching else None
        self._geometry = geometry
        self._vocab_size = vocab_size
        self._seed = seed
        self._request_ids = itertools.count()
        self._checked: SamplingParams | None = None  # parameters that many requests in a row have are checked once

    def tokenize(self, prompts: Sequence[Prompt]) -> list[TokenPrompt]:
        """Turn prompts into token ids, all texts in one batch.

        Raises:
            PromptError: a malformed prompt, or token ids outside the vocabulary.
            OptionError: a text, and the engine has no tokenizer.
        """
        split = [split_prompt(prompt) for prompt in prompts]
        texts = [text for text, token_ids in split if text is not None and token_ids is None]
        if texts and self._codec is None:
            raise OptionError(
                "This engine was loaded with skip_tokenizer_init=True and takes no text.",
                hint='Give {"prompt_token_ids": [...]}.',
            )
        encoded = iter(self._codec.encode(texts) if self._codec is not None else ())
        all_ids = [next(encoded) if token_ids is None else token_ids for _, token_ids in split]
        self._check_ids(all_ids)
        return [
            # ids that were given are copied: whoever has them may go on writing to them
            TokenPrompt(token_ids if given is None else token_ids.astype(np.int32), text)
            for token_ids, (text, given) in zip(all_ids, split, strict=True)
        ]

    def make_requests(
        self,
        prompt: TokenPrompt,
        params: SamplingParams,
        *,
        stream: bool,
        priority: int,
        pooling: Pooling | None = None,
    ) -> tuple[Request, ...]:
        """Return ``params.num_sequences`` requests; those after the first are its children and share its prompt.

        Their prompt is cut to ``params.truncate_prompt_tokens``.

        A sequence without a seed gets one derived from the engine's seed and its request id; with one, sequence i of
        ``n`` gets ``seed + i``.

        Raises:
            ContextLengthError: the prompt leaves no room, or the cache could never hold prompt and output.
            OptionError: the parameters name token ids outside the vocabulary, or need text without a tokenizer.
            PagednbError: the constraint cannot be enforced with this model; see ``GrammarCompiler.compile``.
        """
        max_tokens = self.check(prompt, params)
        token_ids = prompt.token_ids[kept_part(params, self._geometry)]
        request_ids = [next(self._request_ids) for _ in range(params.num_sequences)]
        block_digests = self._block_digests(token_ids)
        grammar = self._grammar(params, token_ids)
        token_rules = self._token_rules(params)
        return tuple(
            Request(
                request_id=request_id,
                prompt_token_ids=token_ids,
                sampling_params=params,
                max_tokens=max_tokens,
                seed=as_int64(params.seed + index) if params.seed is not None else mix64(self._seed, request_id),
                priority=priority,
                parent_id=None if index == 0 else request_ids[0],
                stream=stream,
                block_digests=block_digests,
                grammar=grammar,
                token_rules=token_rules,
                pooling=pooling,
            )
            for index, request_id in enumerate(request_ids)
        )

    def check(self, prompt: TokenPrompt, params: SamplingParams) -> int:
        """Return how many new tokens a prompt gets at most; raises as ``make_requests``, constraints aside."""
        self._check_params(params)
        return self._resolve_max_tokens(len(prompt.token_ids[kept_part(params, self._geometry)]), params.max_tokens)

    def _token_rules(self, params: SamplingParams) -> TokenRules | None:
        if not params.has_token_rules:
            return None
        if params.bad_words and self._codec is None:
            raise OptionError("bad_words need a tokenizer, and the engine has none.", hint="Use logit_bias.")
        banned = [] if self._codec is None else self._codec.tokens_of_words(params.bad_words or ())
        rules = TokenRules(self._vocab_size, allowed=params.allowed_token_ids, banned=banned)
        ends = (*self._eos_token_ids, *(params.stop_token_ids or ())) if params.min_tokens else ()
        if not rules.leave_any(besides=ends):
            raise OptionError(
                "allowed_token_ids, bad_words and min_tokens leave no token that an answer could begin with.",
                hint="Allow more tokens, or leave one of them out.",
            )
        return rules

    def compile(self, params: SamplingParams) -> TokenGrammar | None:
        """Return the constraint of ``params`` compiled, which takes long the first time; None if they have none.

        Raises:
            PagednbError: it cannot be enforced with this model; see ``GrammarCompiler.compile``.
        """
        constraint = params.constraint
        if constraint is None:
            return None
        if self._codec is None or self._grammars is None:
            raise OptionError("A constraint needs a tokenizer, and the engine has none.", hint="Load it with one.")
        return self._grammars.compile(constraint)

    def _grammar(self, params: SamplingParams, token_ids: np.ndarray) -> TokenGrammar | None:
        grammar = self.compile(params)
        if grammar is None or self._codec is None:
            return None
        ends = np.flatnonzero(np.isin(token_ids, self._eos_token_ids))  # of turns: a user may write of <think>
        end_of_thinking = self._codec.end_of_thinking(token_ids[int(ends.max(initial=-1)) + 1 :])
        return grammar if end_of_thinking is None else grammar.starting_after(end_of_thinking)

    def _block_digests(self, token_ids: np.ndarray) -> tuple[bytes, ...]:
        """Name the prompt's blocks here, where it costs the engine thread nothing."""
        digests: list[bytes] = []
        if self._hasher is not None:
            self._hasher.extend(digests, token_ids, Request.cache_salt)
        return tuple(digests)

    def _check_ids(self, all_ids: Sequence[np.ndarray]) -> None:
        """Refuse ids that the model does not have; a tokenizer may know more tokens than the model."""
        for dtype in {token_ids.dtype for token_ids in all_ids}:  # signed and unsigned ones do not mix
            # one look at many prompts takes as long as one at each of them
            together = np.concatenate([token_ids for token_ids in all_ids if token_ids.dtype == dtype])
            low, high = int(together.min(initial=0)), int(together.max(initial=0))
            if low < 0 or high >= self._vocab_size:
                outside = low if low < 0 else high
                raise PromptError(
                    f"Token id {outside} is outside the model's vocabulary of {self._vocab_size}.",
                    hint="Encode the prompt with this model's tokenizer.",
                )

    def _check_params(self, params: SamplingParams) -> None:
        if params is self._checked:
            return
        if params.stop and self._codec is None:
            raise OptionError("stop strings need a tokenizer, and the engine has none.", hint="Use stop_token_ids.")
        for name in ("stop_token_ids", "logprob_token_ids", "logit_bias", "allowed_token_ids"):
            token_ids = getattr(params, name)
            if token_ids and max(token_ids) >= self._vocab_size:
                raise OptionError(
                    f"SamplingParams {name} has token id {max(token_ids)}, outside the model's vocabulary of "
                    f"{self._vocab_size}."
                )
        self._checked = params

    def _resolve_max_tokens(self, num_prompt_tokens: int, wish: int | None) -> int:
        """Bound by ``max_model_len``, as in vLLM: an output that meets it has finish reason "length".

        The cache bounds only "as many as fit"; a stated number that it cannot hold is refused.
        """
        geometry = self._geometry
        room = geometry.max_model_len - num_prompt_tokens
        if num_prompt_tokens == 0:
            raise PromptError("The prompt is empty: it has no tokens.")
        if room < 1:
            raise ContextLengthError(
                f"The prompt has {num_prompt_tokens} tokens; with max_model_len={geometry.max_model_len} at most "
                f"{geometry.max_model_len - 1} leave room for an answer.",
                hint="Shorten it, or load the engine with a larger max_model_len.",
            )
        room_in_cache = geometry.num_usable_tokens - num_prompt_tokens
        max_tokens = min(room, max(1, room_in_cache)) if wish is None else min(room, wish)
        if max_tokens > room_in_cache:
            raise ContextLengthError(
                f"The prompt has {num_prompt_tokens} tokens and asks for {max_tokens} more; the KV cache holds "
                f"{geometry.num_usable_tokens} in all.",
                hint="Shorten it, lower max_tokens, or load the engine with more memory for the cache.",
            )
        return max_tokens
