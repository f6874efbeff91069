"""The run of a verb that chooses among labels: from its words, labels and questions to columns.

``classify``, ``filter`` and ``score`` say what is asked and how probabilities become columns; the rest is here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pagednb import runtime
from pagednb.dataframe.kept.kept_rows import KeptRows
from pagednb.dataframe.labels.calibration import CalibrateOption, content_free_prior
from pagednb.dataframe.labels.columns import calibrated, probabilities_of
from pagednb.dataframe.labels.task import LabelTask
from pagednb.dataframe.labels.tokens import LabelTokenizer
from pagednb.dataframe.labels.words import with_words
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.results.failures import ErrorPolicy
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.rows.verb_rows import Target, VerbRows
from pagednb.dataframe.run.conduct import start_run
from pagednb.dataframe.run.options import RunOptions
from pagednb.dataframe.run.task import ONE_QUESTION
from pagednb.dataframe.run.verb_run import ColumnVerb
from pagednb.structured_output.field_spec import FieldSpec


def no_notes(probabilities: np.ndarray) -> Mapping[int, str]:
    """Withhold no value."""
    return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelRun:
    """What is asked of the rows, and what becomes of the answers.

    Attributes:
        words: an instruction before the first text that the model reads, an example or the row.
        labels: what the model may answer.
        questions: what is put behind a row's text; each is answered by itself.
        beside: names of columns that stand beside the target's.
        columns: makes columns by name from probabilities ``[num_rows, num_questions, num_labels]``.
        holds: as of ``ColumnVerb``.
        notes: reasons for values that are withheld, from the same.
        asked: the verb's own options as JSON types, for ``retry``; None if they are not.
    """

    verb: str
    rows: VerbRows
    template: object
    target: Target
    errors: ErrorPolicy
    labels: Sequence[str]
    columns: Callable[[np.ndarray], Mapping[str, Any]]
    beside: Sequence[str] = ()
    words: str = ""
    questions: Sequence[str] = ONE_QUESTION
    turns: tuple[tuple[str, str], ...] = ()
    system: str | None = None
    calibrate: CalibrateOption = None
    holds: Mapping[str, FieldSpec] = dataclasses.field(default_factory=dict)
    notes: Callable[[np.ndarray], Mapping[int, str]] = no_notes
    asked: Mapping[str, Any] | None = None

    def start(self, options: RunOptions) -> Any:
        """Run; return the verb's result, or a ``Job``. Raises as ``start_run``."""
        prompts = self.rows.prompts(self.template)
        chat = Chat(self.system, self.turns, thinks=False)
        engine = runtime.get_engine()
        chat.require_place(engine)
        prompts, chat = with_words(prompts, chat, self.words)
        tokenizer = LabelTokenizer(engine, self.labels)
        tokenizer.require_different()
        task = LabelTask(self.verb, self.labels, tokenizer, self.questions)
        priors: list[np.ndarray] = []

        def prepare(kept: KeptRows) -> None:
            if self.calibrate is not None and len(prompts.positions):
                priors.append(content_free_prior(engine, prompts, task, chat, kept))

        def probabilities(outcome: RowOutcome[Any]) -> np.ndarray:
            raw = probabilities_of(outcome, (len(self.questions), len(self.labels)))
            return calibrated(raw, priors[0]) if priors else raw

        verb = ColumnVerb(
            rows=self.rows,
            engine=engine,
            prompts=prompts,
            task=task,
            chat=chat,
            template=self.template,
            target=self.target,
            errors=self.errors,
            columns=lambda outcome: self.columns(probabilities(outcome)),
            prepare=prepare,
            words=self.words,
            beside=self.beside,
            holds=self.holds,
            notes=lambda outcome: self.notes(probabilities(outcome)),
            details={"into": self.target.into, "truncate": options.truncate, "options": self.asked},
        )
        return start_run(verb.as_run(), options)
