"""Messages that people send: support tickets, reviews, notes with fields. Each carries its own gold answers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping

from pagednb.embedded_model.facts import Facts
from pagednb.embedded_model.grammar import Grammar
from pagednb.embedded_model.noise import add_noise

TEAMS = ("billing", "technical", "shipping", "account", "other")
SENTIMENTS = ("positive", "negative", "neutral")


@dataclasses.dataclass(frozen=True)
class Message:
    """A text and what is true of it; ``team`` is None for what is no ticket, ``sentiment`` where it is not defined."""

    text: str
    team: str | None = None
    sentiment: str | None = None
    fields: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


class MessageMaker:
    """Draws messages from one split of the grammar."""

    def __init__(self, grammar: Grammar, rng: random.Random, *, noise_rate: float = 0.25) -> None:
        self._grammar = grammar
        self._rng = rng
        self._noise_rate = noise_rate

    def new_facts(self) -> Facts:
        """Return values for a message that is made elsewhere."""
        return Facts(self._grammar, self._rng)

    def ticket(self, team: str | None = None, sentiment: str | None = None) -> Message:
        """Return a support ticket. What it is about decides the team, how it sounds decides the sentiment."""
        rng = self._rng
        team = team or rng.choice(TEAMS)
        sentiment = sentiment or rng.choices(SENTIMENTS, (2, 3, 5))[0]
        facts = self.new_facts()
        sentences = self._core(team, sentiment, facts)
        if rng.random() < 0.25:
            aside = rng.choice([other for other in TEAMS if other != team])
            sentences.insert(rng.randint(0, 1), self._sentence(f"{aside}.aside", facts))
        if rng.random() < 0.3:
            sentences.append(self._sentence("ask", facts))
        text = self._letter(sentences, facts)
        return Message(self._finish(text, facts), team, sentiment, facts.fields)

    def review(self, sentiment: str | None = None) -> Message:
        """Return a short review of one to three sentences."""
        rng = self._rng
        sentiment = sentiment or rng.choice(SENTIMENTS)
        facts = self.new_facts()
        sentences = [self._sentence(f"review.{sentiment}", facts)]
        if rng.random() < 0.3:
            sentences.append(self._sentence(f"review.{sentiment}", facts))
        if rng.random() < 0.35:
            sentences.insert(rng.randint(0, len(sentences)), self._sentence("review.filler", facts))
        return Message(self._finish(" ".join(sentences), facts), None, sentiment, facts.fields)

    def record(self) -> Message:
        """Return a note that mentions fields: an order line, a booking, a remark of a clerk."""
        rng = self._rng
        facts = self.new_facts()
        sentences = [self._sentence("record", facts) for _ in range(rng.choice((1, 1, 1, 2)))]
        if rng.random() < 0.3:
            sentences.insert(rng.randint(0, len(sentences)), self._sentence("record.filler", facts))
        return Message(self._finish(" ".join(sentences), facts), fields=facts.fields)

    def _core(self, team: str, sentiment: str, facts: Facts) -> list[str]:
        """What the ticket is about, and how it sounds."""
        rng = self._rng
        if team == "other" and sentiment == "positive" and rng.random() < 0.6:
            return [self._sentence("other.praise", facts)]
        sentences = [self._sentence(f"{team}.core", facts)]
        if rng.random() < 0.12:
            sentences.append(self._sentence(f"{team}.core", facts))
        if rng.random() < 0.4:
            sentences.append(self._sentence(f"{team}.detail", facts))
        if sentiment != "neutral":
            sentences.insert(rng.randint(0, len(sentences)), self._sentence(f"tone.{sentiment}", facts))
        return sentences

    def _letter(self, sentences: list[str], facts: Facts) -> str:
        rng = self._rng
        text = " ".join(sentences)
        if rng.random() < 0.35:
            text = self._sentence("greeting", facts) + rng.choice((" ", " ", "\n", "\n\n")) + text
        if rng.random() < 0.3:
            text += rng.choice((" ", " ", "\n", "\n\n")) + self._sentence("signoff", facts)
        return text

    def _sentence(self, section: str, facts: Facts) -> str:
        text = self._grammar.expand(section, self._rng, facts)
        starts_with_value = any(text.startswith(value) for value in facts.values)
        return text if starts_with_value else text[:1].upper() + text[1:]

    def _finish(self, text: str, facts: Facts) -> str:
        return add_noise(text, facts.values, self._rng, self._noise_rate)
