"""The tree against the plainest model of it: a list of paths, and the choices as a list of what was shown last."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from pagednb.chats.conversation_tree import OPENING, ConversationTree
from pagednb.chats.turn import Turn


def turn(turn_id: str, text: str = "") -> Turn:
    return Turn(turn_id=turn_id, role="user", text=text or turn_id)


class Paths:
    """Every turn as the path that leads to it; of the turns behind a path, the one touched last is shown."""

    def __init__(self) -> None:
        self.paths: dict[str, tuple[str, ...]] = {}
        self.touched: list[str] = []

    def add(self, turn_id: str, after: str) -> None:
        self.paths[turn_id] = (*self.paths.get(after, ()), turn_id)
        self.touched.append(turn_id)

    def choose(self, turn_id: str) -> None:
        self.touched.extend(self.paths[turn_id])

    def behind(self, path: tuple[str, ...]) -> list[str]:
        return [i for i, other in self.paths.items() if len(other) == len(path) + 1 and other[: len(path)] == path]

    def chosen_behind(self, path: tuple[str, ...]) -> str | None:
        behind = self.behind(path)
        return next((i for i in reversed(self.touched) if i in behind), None)

    def branch(self) -> Iterator[str]:
        path: tuple[str, ...] = ()
        while (chosen := self.chosen_behind(path)) is not None:
            yield chosen
            path = self.paths[chosen]


steps = st.lists(st.tuples(st.sampled_from(["add", "choose", "replace"]), st.integers(0, 10**6)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_random_steps_agree_with_paths(steps: list[tuple[str, int]]) -> None:
    tree, model = ConversationTree(), Paths()
    for number, (action, pick) in enumerate(steps):
        known = [OPENING, *model.paths]
        target = known[pick % len(known)]
        before = (tree.turns, tree.branch)
        if action == "add":
            after = target
            grown = tree.added(turn(f"t{number}"), after=after)
            model.add(f"t{number}", after)
        elif target == OPENING:
            continue
        elif action == "choose":
            grown = tree.chosen(target)
            model.choose(target)
        else:
            grown = tree.replaced(turn(target, f"{target} again"))
        assert (tree.turns, tree.branch) == before, "a tree never changes"
        tree = grown
        check(tree, model)


def check(tree: ConversationTree, model: Paths) -> None:
    branch = [each.turn_id for each in tree.branch]
    assert branch == list(model.branch())
    assert tree.last_id == (branch[-1] if branch else OPENING)
    assert tree.turns.keys() == model.paths.keys()
    for turn_id, path in model.paths.items():
        assert tuple(each.turn_id for each in tree.before(turn_id)) == path[:-1]
        assert tree.followed(turn_id) == (path[-2] if len(path) > 1 else OPENING)
        assert list(tree.siblings(turn_id)) == model.behind(path[:-1])
        assert tree.is_chosen(turn_id) == (model.chosen_behind(path[:-1]) == turn_id)


def test_a_branch_that_is_shown_again_is_as_it_was_left() -> None:
    tree = ConversationTree().added(turn("q1"), after=OPENING)
    tree = tree.added(turn("a1"), after="q1").added(turn("q2"), after="a1")
    tree = tree.added(turn("a1b"), after="q1")
    assert [each.turn_id for each in tree.branch] == ["q1", "a1b"]
    assert [each.turn_id for each in tree.chosen("a1").branch] == ["q1", "a1", "q2"]
    assert tree.siblings("a1") == ("a1", "a1b")


def test_a_long_conversation_needs_no_deep_stack() -> None:
    tree, last = ConversationTree(), OPENING
    for number in range(1500):
        tree, last = tree.added(turn(str(number)), after=last), str(number)
    assert len(tree.branch) == 1500 == len(tree.before(last)) + 1
