"""Whether a constrained text is whole: one that was cut at ``max_tokens`` may be none of what was asked for."""

from __future__ import annotations

import json
import re

from pagednb.dataframe.run.task import RowFailure
from pagednb.outputs import CompletionOutput
from pagednb.sampling_params import SamplingParams


def require_whole(completion: CompletionOutput, params: SamplingParams) -> None:
    """Refuse a text that a constraint held and ``max_tokens`` cut, unless its last token happened to complete it.

    Raises:
        RowFailure: it was cut.
    """
    if completion.finish_reason == "length" and not _is_whole(completion.text, params):
        raise RowFailure(
            f"The answer was cut at max_tokens={params.max_tokens}, before it was one that is allowed; give it more."
        )


def _is_whole(text: str, params: SamplingParams) -> bool:
    if params.choices is not None:
        return text in params.choices
    if params.schema is not None:
        return _is_json(text)
    if params.regex is not None:
        return _matches(params.regex, text)
    return params.grammar is None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _matches(regex: str, text: str) -> bool:
    try:
        return re.fullmatch(regex, text) is not None
    except re.error:  # the engine's dialect knows a little more
        return False
