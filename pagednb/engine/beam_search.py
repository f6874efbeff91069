"""Beam search over the engine: every step asks for the likeliest next tokens of all beams of all prompts.

A beam is a prompt of its own that grows by a token: the prefix cache gives it the full blocks of its beginning, which
it shares with all beams that begin alike, and it computes its last block, as far as that is filled, into one of its
own. No beam ever writes where another reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pagednb.beam_search_params import BeamSearchParams
from pagednb.engine.beams import Beam, Beams
from pagednb.engine.faults import raise_if_aborted
from pagednb.engine.token_prompt import Prompt, TokenPrompt
from pagednb.errors import ContextLengthError, OptionError
from pagednb.outputs import BeamSearchOutput, BeamSearchSequence
from pagednb.sampling_checks import MAX_LOGPROBS
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

_BeamKey = tuple[int, int]  # prompt, beam


def beam_search(engine: LLMEngine, prompts: Sequence[Prompt], params: BeamSearchParams) -> list[BeamSearchOutput]:
    """Return the best answers to each prompt, in the order of ``prompts``.

    Raises:
        OptionError: beams wider than log-probabilities can be asked for.
        PagednbError: as ``LLMEngine.generate``.
    """
    encoded = engine.tokenize(prompts)
    eos_token_ids = engine.resolved.eos_token_ids
    searches = [
        Beams(params, max_tokens=_room(engine, prompt, params.max_tokens), eos_token_ids=eos_token_ids)
        for prompt in encoded
    ]
    if searches and (num_candidates := searches[0].num_candidates) > MAX_LOGPROBS:
        most = MAX_LOGPROBS - (num_candidates - params.beam_width)
        raise OptionError(f"beam_width={params.beam_width} is too wide for this model: at most {most}.")
    _run(engine, encoded, searches)
    return [_output(engine, *pair, params) for pair in zip(encoded, searches, strict=True)]


def _run(engine: LLMEngine, prompts: Sequence[TokenPrompt], searches: Sequence[Beams]) -> None:
    """Step all searches together until all are over."""
    if not searches:
        return
    step = SamplingParams(temperature=0, max_tokens=1, logprobs=searches[0].num_candidates, detokenize=False)
    with engine.open_call(returns_prompts=False) as call:
        while any(search.running for search in searches):
            call.submit_all(
                [
                    ((index, rank), TokenPrompt(_joined(prompts[index], beam)), step)
                    for index, search in enumerate(searches)
                    for rank, beam in enumerate(search.running)
                ]
            )
            told: dict[_BeamKey, dict[int, float]] = {}
            for key, output in call.results():
                raise_if_aborted(output)
                (position,) = output.outputs[0].logprobs or ()
                told[key] = {token_id: each.logprob for token_id, each in position.items()}
            for index, search in enumerate(searches):
                if search.running:
                    search.advance([told[index, rank] for rank in range(len(search.running))])


def _joined(prompt: TokenPrompt, beam: Beam) -> np.ndarray:
    return np.concatenate([prompt.token_ids, np.array(beam.token_ids, dtype=np.int32)])


def _room(engine: LLMEngine, prompt: TokenPrompt, max_tokens: int) -> int:
    """Return how many tokens an answer may have; raises ContextLengthError if there is room for none."""
    most = min(engine.geometry.max_model_len, engine.geometry.num_usable_tokens)
    room = min(max_tokens, most - len(prompt.token_ids))
    if room < 1:
        raise ContextLengthError(
            f"The prompt has {len(prompt.token_ids)} tokens; at most {most - 1} leave room for an answer.",
            hint="Shorten it, or load the engine with a larger max_model_len.",
        )
    return room


def _output(engine: LLMEngine, prompt: TokenPrompt, search: Beams, params: BeamSearchParams) -> BeamSearchOutput:
    sequences = []
    for beam in search.ranked():
        has_ended = search.has_ended(beam)
        is_cut = has_ended and not params.include_stop_str_in_output
        answer = beam.token_ids[:-1] if is_cut else beam.token_ids
        token_ids = (*prompt.token_ids.tolist(), *answer)
        sequences.append(
            BeamSearchSequence(
                tokens=token_ids,
                text=engine.decode(token_ids, skip_special_tokens=True) if engine.has_tokenizer else None,
                cum_logprob=beam.cumulative_logprob,
                logprobs=beam.logprobs,
                score=search.score(beam),
                finish_reason="stop" if has_ended else "length",
            )
        )
    return BeamSearchOutput(sequences=tuple(sequences))
