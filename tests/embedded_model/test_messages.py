"""Messages and tasks carry gold answers that their own text supports."""

from __future__ import annotations

import json
import random

import pytest

from pagednb.embedded_model.facts import FIELDS
from pagednb.embedded_model.grammar import Grammar, GrammarSplit
from pagednb.embedded_model.messages import SENTIMENTS, TEAMS, MessageMaker
from pagednb.embedded_model.noise import add_noise
from pagednb.embedded_model.tasks import TaskMaker

SPLITS: tuple[GrammarSplit, ...] = ("train", "heldout")


def maker(split: GrammarSplit, seed: int = 0) -> MessageMaker:
    return MessageMaker(Grammar.load(split), random.Random(seed), noise_rate=0.5)


@pytest.mark.parametrize("split", SPLITS)
def test_every_value_stands_in_the_text_as_it_is(split: GrammarSplit) -> None:
    make = maker(split)
    for message in [make() for make in (make.ticket, make.review, make.record) for _ in range(300)]:
        assert set(message.fields) <= set(FIELDS)
        for value in message.fields.values():
            assert value is None or value in message.text


@pytest.mark.parametrize("split", SPLITS)
def test_no_slot_stays_open(split: GrammarSplit) -> None:
    make = maker(split)
    texts = [make.ticket().text for _ in range(500)] + [make.review().text for _ in range(500)]
    assert not [text for text in texts if set(text) & set("{}[]\\")]


def test_tickets_have_the_team_and_the_sentiment_that_were_asked_for() -> None:
    ticket = maker("train").ticket("shipping", "negative")
    assert (ticket.team, ticket.sentiment) == ("shipping", "negative")


@pytest.mark.parametrize("split", SPLITS)
def test_answers_fit_their_questions(split: GrammarSplit) -> None:
    make = TaskMaker(Grammar.load(split), random.Random(3))
    for _ in range(300):
        assert make.routing().answer.lower() in TEAMS
        assert make.sentiment().answer.lower() in SENTIMENTS
        assert make.yes_no().answer in ("yes", "no")
        extraction = make.extraction()
        text = "\n".join(turn["content"] for turn in extraction.turns)
        assert all(value is None or value in text for value in json.loads(extraction.answer).values())
        conversation = make.conversation()
        roles = [turn["role"] for turn in conversation.turns if turn["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_an_answer_is_written_as_the_question_writes_the_labels() -> None:
    make = TaskMaker(Grammar.load("train"), random.Random(4))
    examples = [make.routing() for _ in range(500)]
    shouted = [example for example in examples if example.answer.isupper()]
    assert shouted
    assert all(any(example.answer in turn["content"] for turn in example.turns) for example in shouted)


def test_noise_spares_protected_values_and_does_change_the_rest() -> None:
    text, protected = "Please check order PN-12345 of the Brelux kettle.", ["PN-12345", "Brelux kettle"]
    noisy = [add_noise(text, protected, random.Random(seed), rate=1.0) for seed in range(100)]
    assert all(value in copy for copy in noisy for value in protected)
    assert sum(copy != text for copy in noisy) > 50
    assert add_noise(text, protected, random.Random(0), rate=0.0) == text
