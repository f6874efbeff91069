"""``calibrate="contextual"``: what the model would answer whatever a row says, to be divided out.

A model prefers some labels before it has read anything. Its answers to rows without content tell how much (contextual
calibration: Zhao et al., "Calibrate Before Use", 2021). The rows are the template filled with "N/A", "[MASK]" and
nothing, as in the paper; their mean is the prior.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from pagednb.dataframe.kept.kept_rows import KeptRows
from pagednb.dataframe.labels.task import LabelTask
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.prompts.row_prompts import RowPrompts
from pagednb.dataframe.run.row_job import run_rows
from pagednb.errors import OptionError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

CalibrateOption = Literal["contextual"] | None
CONTENT_FREE = ("N/A", "[MASK]", "")


def check_calibrate(calibrate: object) -> None:
    """Raise OptionError for anything but a CalibrateOption."""
    if calibrate not in (None, "contextual"):
        raise OptionError(f"calibrate={calibrate!r} is not valid.", hint="Use None or 'contextual'.")


def content_free_prior(
    engine: LLMEngine, prompts: RowPrompts, task: LabelTask, chat: Chat, kept: KeptRows
) -> np.ndarray:
    """Return the mean probabilities of rows without content, float64 ``[num_questions, num_labels]``.

    ``kept`` is the run's; of it the cache is used.

    Raises:
        OptionError: the template without content is nothing the model could answer.
        KeyboardInterrupt: as it came.
    """
    texts = [prompts.template.filled_with(value) for value in CONTENT_FREE]
    outcome = run_rows(
        engine, iter(list(enumerate(texts))), task, num_rows=len(texts), chat=chat, kept=kept.cache_alone()
    )
    values = [value for value in outcome.values if value is not None]
    if not values:
        reason = next(iter(outcome.errors.values()))
        raise OptionError(f"The template cannot be calibrated: {reason}", hint="Leave calibrate= out.")
    prior: np.ndarray = np.mean(values, axis=0)
    return prior
