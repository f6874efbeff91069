"""A conversation with all of its branches, as a frozen value: every change gives another tree.

Each turn follows one other, or opens the conversation. Where several follow the same turn, one of them is chosen; the
choices from the first turn on are the branch that is shown and that the model sees.

    hello ── Hi! ─┬─ tell me a joke ─┬─ (answer 1)
                  │                  └─ (answer 2)   ← chosen at each fork: the branch
                  └─ tell me a story ─── (answer)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from pagednb.chats.turn import Turn

OPENING = ""
"""What the first turns follow."""


@dataclasses.dataclass(frozen=True)
class _Fork:
    """The turns that follow one turn, in order of time, and the chosen one of them."""

    followers: tuple[str, ...]
    chosen: str


@dataclasses.dataclass(frozen=True)
class ConversationTree:
    """Turns by id, what each follows, and the forks behind each. Made by its own methods only."""

    turns: Mapping[str, Turn] = dataclasses.field(default_factory=dict)
    _followed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    _forks: Mapping[str, _Fork] = dataclasses.field(default_factory=dict)

    @property
    def branch(self) -> tuple[Turn, ...]:
        """The turns of the chosen branch, from the first on."""
        return tuple(self.turns[turn_id] for turn_id in self._chosen_from(OPENING))

    @property
    def last_id(self) -> str:
        """The last turn of the branch; ``OPENING`` when nothing was said."""
        return [OPENING, *self._chosen_from(OPENING)][-1]

    def followed(self, turn_id: str) -> str:
        """Return the turn that ``turn_id`` follows, or ``OPENING``."""
        return self._followed[turn_id]

    def siblings(self, turn_id: str) -> tuple[str, ...]:
        """Return the turns that follow the same one, itself among them, in order of time."""
        return self._forks[self._followed[turn_id]].followers

    def is_chosen(self, turn_id: str) -> bool:
        """Whether a turn is the chosen one of its siblings; the fork itself may lie on another branch."""
        return self._forks[self._followed[turn_id]].chosen == turn_id

    def before(self, turn_id: str) -> tuple[Turn, ...]:
        """Return the turns that lead to ``turn_id``, from the first on, itself not among them."""
        path = []
        while (turn_id := self._followed[turn_id]) != OPENING:
            path.append(self.turns[turn_id])
        return tuple(reversed(path))

    def added(self, turn: Turn, *, after: str, is_chosen: bool = True) -> ConversationTree:
        """Return the tree with one more turn behind ``after``; the first one there is chosen in any case."""
        assert turn.turn_id not in self.turns and (after == OPENING or after in self.turns)
        fork = self._forks.get(after) or _Fork((), turn.turn_id)
        chosen = turn.turn_id if is_chosen else fork.chosen
        return ConversationTree(
            {**self.turns, turn.turn_id: turn},
            {**self._followed, turn.turn_id: after},
            {**self._forks, after: _Fork((*fork.followers, turn.turn_id), chosen)},
        )

    def replaced(self, turn: Turn) -> ConversationTree:
        """Return the tree with what is known now of a turn that it has."""
        assert turn.turn_id in self.turns
        return dataclasses.replace(self, turns={**self.turns, turn.turn_id: turn})

    def chosen(self, turn_id: str) -> ConversationTree:
        """Return the tree with the branch that leads through ``turn_id``; behind it the choices stay as they are."""
        forks = dict(self._forks)
        while turn_id != OPENING:
            after = self._followed[turn_id]
            forks[after] = dataclasses.replace(forks[after], chosen=turn_id)
            turn_id = after
        return dataclasses.replace(self, _forks=forks)

    def _chosen_from(self, turn_id: str) -> Iterator[str]:
        while (fork := self._forks.get(turn_id)) is not None:
            turn_id = fork.chosen
            yield turn_id
