"""A small table for verbs that choose among labels, and what the fake engine makes of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from support.fake_engine import FakeEngine, fake_logprob

LABELS = ["billing", "tech", "other"]
TICKETS = pd.DataFrame(
    {"text": ["late", "broken", None, "late"], "gold": ["other", "tech", None, "x"]}, index=[1, 1, 2, 2]
)
WORDS = "Answer with one of these labels:\n- billing\n- tech\n- other\n\n"


def prompts_of(engine: FakeEngine) -> list[str]:
    """The prompts of all calls."""
    return [bytes(prompt).decode() for call in engine.calls for prompt in call.prompts]


def share(prompt: str, labels: list[str]) -> np.ndarray:
    """Probabilities of labels whose first bytes differ."""
    weights = np.exp([fake_logprob(prompt.encode(), label.encode()[0]) for label in labels])
    return weights / weights.sum()
