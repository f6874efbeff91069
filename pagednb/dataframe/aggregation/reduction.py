"""Many texts to one answer, group by group, with at most so many tokens a call.

Rows are packed into calls, and while a group has several answers those are packed into calls again. Each round is one
batch: the calls of all groups together. A group whose rows or calls fail has no answer: one that leaves rows out would
look like one that read them all. Knows no pandas and no engine call.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pagednb.dataframe.aggregation.prompt import GroupPrompt
from pagednb.dataframe.aggregation.rows import JOINT_TOKENS, AggRows, measure
from pagednb.dataframe.prompts.model_prompt import Chat, as_model_sees_it, encode_prompts
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.errors import OptionError, PromptError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine


@dataclasses.dataclass(frozen=True)
class Group:
    """One group: the positions of its rows without NA, and how its prompts read, or why they cannot."""

    positions: np.ndarray
    prompt: GroupPrompt | str


@dataclasses.dataclass(frozen=True)
class CallLimits:
    """Prompt tokens of a call, new tokens of its answer, and what is done with a row that alone is too long."""

    token_budget: int
    max_answer_tokens: int
    truncate: TruncateOption


@dataclasses.dataclass(frozen=True)
class AggCall:
    """One call for a group, given by its number; ``text`` writes the prompt."""

    group: int
    text: Callable[[], str]


Ask = Callable[[Sequence[AggCall]], RowOutcome[str]]
"""Runs the calls of a round; values and errors are in their order."""


class Reduction:
    """The state of one run; fills ``outcome``, which is by group, as groups are done."""

    def __init__(
        self,
        engine: LLMEngine,
        chat: Chat,
        rows: AggRows,
        groups: Sequence[Group],
        *,
        limits: CallLimits,
        outcome: RowOutcome[str],
    ) -> None:
        self._engine = engine
        self._chat = chat
        self._rows = rows
        self._groups = groups
        self._limits = limits
        self._outcome = outcome
        # of groups under way: answers in order, None for a call that is running
        self._parts: dict[int, list[str | None]] = {}

    def run(self, ask: Ask) -> None:
        """Go through the rounds until each group has its answer or a reason.

        Raises:
            OptionError: some group needs several calls, and two answers would not fit into one.
        """
        calls = self._first_calls()
        while calls:
            self._take(calls, ask(calls))
            calls = self._next_calls()

    def _first_calls(self) -> list[AggCall]:
        calls = []
        for number, group in enumerate(self._groups):
            if not len(group.positions):
                continue
            try:
                packs = self._row_packs(group)
            except PromptError as error:
                self._fail(number, error.message)
                continue
            assert isinstance(group.prompt, GroupPrompt)
            calls += [AggCall(number, functools.partial(self._ask_about, group.prompt, pack)) for pack in packs]
            self._parts[number] = [None] * len(packs)
        return calls

    def _row_packs(self, group: Group) -> list[np.ndarray]:
        """Return the rows of each call. Raises PromptError if there is a row that no call can take."""
        if isinstance(group.prompt, str):
            raise PromptError(group.prompt)
        room = self._room(group.prompt.of_rows([]))
        separator = self._separator_tokens(group.prompt)
        positions = group.positions
        self._require_usable(positions, room - separator)
        packs = packed(self._rows.num_tokens[positions] + separator, room)
        if len(packs) > 1:
            least = 2 * (self._limits.max_answer_tokens + JOINT_TOKENS + separator)
            self._require_room(group.prompt, least)
        return [positions[pack] for pack in packs]

    def _require_usable(self, positions: np.ndarray, room: int) -> None:
        """Cut rows that are too long, or raise PromptError."""
        reasons, truncate = self._rows.reasons, self._limits.truncate
        for position in [each for each in positions.tolist() if each in reasons] if reasons else []:
            raise PromptError(f"Row {position} cannot be read: {reasons[position]}")
        for position in positions[self._rows.num_tokens[positions] > room].tolist():
            if truncate != "error" and self._rows.shorten(position, room, truncate):
                self._outcome.figures.truncated += 1
                continue
            raise PromptError(
                f"Row {position} has {self._rows.num_tokens[position]} tokens, and a call has room for {max(room, 0)}."
            )

    def _require_room(self, prompt: GroupPrompt, least: int) -> None:
        room = self._room(prompt.of_answers([]))
        if room < least:
            raise OptionError(
                f"The rows need several calls, and two answers of up to {self._limits.max_answer_tokens} tokens do not "
                f"fit the {max(room, 0)} that token_budget={self._limits.token_budget} leaves for them.",
                hint="Raise token_budget, or lower max_tokens.",
            )

    def _take(self, calls: Sequence[AggCall], answered: RowOutcome[str]) -> None:
        """Put the answers of a round where they belong."""
        group_to_answers: dict[int, list[str | None]] = {}
        for index, call in enumerate(calls):
            group_to_answers.setdefault(call.group, []).append(answered.values[index])
            if index in answered.errors:
                self._fail(call.group, f"A part of it failed: {answered.errors[index]}")
        for number, parts in self._parts.items():
            answers = iter(group_to_answers[number])
            self._parts[number] = [next(answers) if part is None else part for part in parts]

    def _next_calls(self) -> list[AggCall]:
        """Settle the groups with one answer; return the calls that combine the answers of the others."""
        calls: list[AggCall] = []
        for number, parts in list(self._parts.items()):
            answers = [part for part in parts if part is not None]
            assert len(answers) == len(parts), "each call of a round has an answer"
            if len(answers) == 1:
                self._outcome.values[number] = answers[0]
                del self._parts[number]
            else:
                calls += self._combining(number, answers)
        return calls

    def _combining(self, number: int, answers: list[str]) -> list[AggCall]:
        prompt = self._groups[number].prompt
        assert isinstance(prompt, GroupPrompt)
        sizes = measure(self._engine, answers) + self._separator_tokens(prompt)
        packs = packed(sizes, self._room(prompt.of_answers([])))
        if len(packs) == len(answers):  # text may have more tokens than the model wrote it with
            self._fail(number, f"Of its {len(answers)} partial answers no two fit one call.")
            return []
        # an answer that is alone in its pack waits for the next round
        self._parts[number] = [answers[pack][0] if len(answers[pack]) == 1 else None for pack in packs]
        several = [answers[pack] for pack in packs if len(answers[pack]) > 1]
        return [AggCall(number, functools.partial(prompt.of_answers, texts)) for texts in several]

    def _ask_about(self, prompt: GroupPrompt, positions: np.ndarray) -> str:
        return prompt.of_rows(self._rows.texts(positions))

    def _room(self, empty_prompt: str) -> int:
        """Return the tokens that a call has for texts; ``empty_prompt`` is what it says beside them."""
        [token_ids] = encode_prompts(self._engine, [as_model_sees_it(self._engine, empty_prompt, self._chat)])
        return self._limits.token_budget - len(token_ids) - JOINT_TOKENS

    def _separator_tokens(self, prompt: GroupPrompt) -> int:
        return int(measure(self._engine, [prompt.separator])[0])

    def _fail(self, number: int, reason: str) -> None:
        self._parts.pop(number, None)
        if number not in self._outcome.errors:
            self._outcome.errors[number] = reason
            self._outcome.figures.failed += 1


def packed(sizes: np.ndarray, room: int) -> list[slice]:
    """Cut ``sizes`` into runs whose sums are at most ``room``; what alone is larger makes a run of its own."""
    starts, used = [0], 0
    for index, size in enumerate(sizes.tolist()):
        if index > starts[-1] and used + size > room:
            starts.append(index)
            used = 0
        used += size
    return [slice(start, end) for start, end in itertools.pairwise([*starts, len(sizes)])]
