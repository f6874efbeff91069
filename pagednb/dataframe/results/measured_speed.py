"""How fast runs of each verb were with the model that is loaded: measured by every run, read by previews."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pagednb import runtime
from pagednb.dataframe.results.figures import RunFigures

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine


@dataclasses.dataclass(frozen=True)
class MeasuredSpeed:
    """``tokens_per_s`` counts prompt tokens, cached ones too, and output tokens; ``output_mean`` is of one answer."""

    model: str
    tokens_per_s: float
    output_mean: float

    def seconds(self, num_prompts: int, prompt_mean: float, max_tokens: int) -> float:
        """Return the time of so many prompts, if answers are as long as they were."""
        return num_prompts * (prompt_mean + min(self.output_mean, max_tokens)) / self.tokens_per_s


def note_speed(engine: LLMEngine, verb: str, figures: RunFigures) -> None:
    """Keep a run's speed; one that computed nothing says nothing."""
    if figures.finished and figures.seconds:
        tokens = figures.prompt_tokens + figures.output_tokens
        speed = MeasuredSpeed(
            engine.resolved.identity, tokens / figures.seconds, figures.output_tokens / figures.finished
        )
        runtime.keep(_name(verb), speed)


def last_speed(engine: LLMEngine, verb: str) -> MeasuredSpeed | None:
    """Return the speed of the verb's last run with this model; None if there was none since another was loaded."""
    speed: MeasuredSpeed | None = runtime.kept(_name(verb), lambda: None)
    return speed if speed is not None and speed.model == engine.resolved.identity else None


def _name(verb: str) -> str:
    return f"measured_speed.{verb}"
