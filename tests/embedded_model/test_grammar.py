"""The grammar does what it says, is deterministic, and keeps its two splits apart."""

from __future__ import annotations

import functools
import random
import re

import pytest

from pagednb.embedded_model.grammar import Choice, Grammar, Slot, frame_pattern, parse_frame, parse_sections
from pagednb.embedded_model.tasks import TaskMaker

TRAIN, HELDOUT = Grammar.load("train"), Grammar.load("heldout")


def is_written_apart(section: str) -> bool:
    """Sections with sentences; the rest are words, greetings and answers that both splits share."""
    return section in TRAIN.names() and TRAIN.frames(section) != HELDOUT.frames(section)


def unresolved(name: str) -> str:
    return "{" + name + "}"


@functools.cache
def slot_pattern(name: str) -> str:
    """A slot as it stands, or any word of the section that fills it."""
    words = [frame_pattern(frame, slot_pattern) for frame in TRAIN.frames(name)] if name in TRAIN.names() else []
    return "(?:" + "|".join([re.escape(unresolved(name)), *words]) + ")"


@functools.cache
def train_pattern() -> re.Pattern[str]:
    """Matches every sentence that a training frame can produce, in any section."""
    sections = [name for name in TRAIN.names() if name not in HELDOUT.names() or is_written_apart(name)]
    frames = [frame for name in sections for frame in TRAIN.frames(name)]
    return re.compile("|".join(f"(?:{frame_pattern(frame, slot_pattern)})" for frame in frames), re.IGNORECASE)


def heldout_sentences() -> list[str]:
    rng = random.Random(0)
    sections = [name for name in HELDOUT.names() if is_written_apart(name)]
    return [
        HELDOUT.expand_frame(frame, rng, unresolved)
        for name in sections
        for frame in HELDOUT.frames(name)
        for _ in range(3)
    ]


def test_parse_frame() -> None:
    assert parse_frame("a [b|c {d}|] e|f") == (
        "a ",
        Choice((("b",), ("c ", Slot("d")), ())),
        " e",
        "|",
        "f",
    )
    assert parse_frame(r"{{x}}\ny") == ("{", "x", "}", "\n", "y")


@pytest.mark.parametrize("line", ["a [b|c", "[a[b]"])
def test_unmatched_brackets_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="Unmatched"):
        parse_frame(line)


def test_a_line_outside_of_a_section_is_refused() -> None:
    with pytest.raises(ValueError, match="outside of a section"):
        parse_sections("a line")


def test_expand_fills_slots_from_values_and_sections() -> None:
    grammar = Grammar(parse_sections("== start\n{who} [likes] {what}\n== what\ntea"))
    assert grammar.expand("start", random.Random(0), {"who": "Ann"}.get) == "Ann likes tea"


def test_a_pattern_matches_exactly_what_its_frame_produces() -> None:
    frame = parse_frame("[one|two] {x}[, really|].")
    pattern = re.compile(frame_pattern(frame, unresolved))
    grammar = Grammar({"start": (frame,)})
    made = {grammar.expand("start", random.Random(seed), unresolved) for seed in range(50)}
    assert len(made) == 4
    assert all(pattern.fullmatch(text) for text in made)
    assert not pattern.fullmatch("three {x}.")


def test_the_same_seed_makes_the_same_examples() -> None:
    first, second = (TaskMaker(TRAIN, random.Random("s")) for _ in range(2))
    assert [first.example() for _ in range(200)] == [second.example() for _ in range(200)]


def test_every_heldout_section_exists_in_training() -> None:
    assert set(HELDOUT.names()) <= set(TRAIN.names())


def test_no_training_frame_can_produce_a_heldout_sentence() -> None:
    sentences = heldout_sentences()
    assert len(set(sentences)) > 300
    assert [sentence for sentence in sentences if train_pattern().fullmatch(sentence)] == []


def test_that_check_can_fail() -> None:
    rng = random.Random(1)
    assert train_pattern().fullmatch(TRAIN.expand("billing.core", rng, unresolved))
