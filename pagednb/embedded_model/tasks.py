"""Conversations: a task asked in some wording about some message, with its answer.

The same code makes both splits; the grammar that it is given decides whose sentences and instructions are used.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Sequence

from pagednb.embedded_model.grammar import Grammar
from pagednb.embedded_model.messages import SENTIMENTS, TEAMS, Message, MessageMaker

Turn = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}, as chat templates take it

_CASES: tuple[Callable[[str], str], ...] = (str.lower, str.lower, str.lower, str.lower, str.capitalize, str.upper)


@dataclasses.dataclass(frozen=True)
class Example:
    """A conversation that waits for its last answer, and that answer."""

    task: str
    turns: tuple[Turn, ...]
    answer: str

    @property
    def messages(self) -> list[Turn]:
        """The whole conversation, answer included."""
        return [*self.turns, {"role": "assistant", "content": self.answer}]


class TaskMaker:
    """Draws examples of every task from one split of the grammar."""

    def __init__(self, grammar: Grammar, rng: random.Random, *, noise_rate: float = 0.25) -> None:
        self._grammar = grammar
        self._rng = rng
        self._make = MessageMaker(grammar, rng, noise_rate=noise_rate)
        self._tasks: dict[str, tuple[float, Callable[[], Example]]] = {
            "routing": (0.34, self.routing),
            "sentiment": (0.21, self.sentiment),
            "yes_no": (0.07, self.yes_no),
            "extraction": (0.16, self.extraction),
            "field": (0.05, self.field),
            "reply": (0.03, self.reply),
            "small_talk": (0.11, self.small_talk),
            "refusal": (0.03, self.refusal),
        }

    def example(self) -> Example:
        """Return an example of a random task."""
        makers = list(self._tasks.values())
        return self._rng.choices([make for _, make in makers], [weight for weight, _ in makers])[0]()

    def conversation(self) -> Example:
        """Return an example that comes after a few answered questions, at times after many."""
        first = self.example()
        turns = list(first.messages)
        num_more = self._rng.randint(10, 24) if self._rng.random() < 0.1 else self._rng.randint(0, 4)
        for _ in range(num_more):
            following = self._follow_up(first.task) or self.example()
            turns += [turn for turn in following.messages if turn["role"] != "system"]
        following = self._follow_up(first.task) or self.small_talk()
        turns += [turn for turn in following.turns if turn["role"] != "system"]
        return Example("conversation", tuple(turns), following.answer)

    def plain_text(self) -> str:
        """Return labelled tickets or reviews without turns, as a prompt without chat template has them."""
        is_team = self._rng.random() < 0.6
        head, tail = ("Ticket", "Team") if is_team else ("Review", "Sentiment")
        messages = [self._make.ticket() if is_team else self._make.review() for _ in range(self._rng.randint(1, 4))]
        return "\n\n".join(f"{head}: {m.text}\n{tail}: {m.team if is_team else m.sentiment}" for m in messages)

    def routing(self, ticket: Message | None = None) -> Example:
        """Which team should handle a ticket?"""
        ticket = ticket or self._make.ticket()
        assert ticket.team is not None, "tickets have a team"
        return self._labelled("routing", "route", ticket, ticket.team, TEAMS)

    def sentiment(self, message: Message | None = None) -> Example:
        """How does the writer of a review (or a ticket) feel?"""
        message = message or (self._make.review() if self._rng.random() < 0.75 else self._make.ticket())
        assert message.sentiment is not None, "reviews and tickets have a sentiment"
        return self._labelled("sentiment", "sentiment", message, message.sentiment, SENTIMENTS)

    def yes_no(self) -> Example:
        """Is this about one team, or of one sentiment?"""
        is_team = self._rng.random() < 0.6
        message = self._make.ticket() if is_team else self._make.review()
        gold = message.team if is_team else message.sentiment
        asked = gold if self._rng.random() < 0.5 else self._rng.choice(TEAMS if is_team else SENTIMENTS)
        section, slot = ("is_team.user", "team") if is_team else ("is_sentiment.user", "sentiment")
        user = self._grammar.expand(section, self._rng, {"text": message.text, slot: asked}.get)
        return self._with_generic_system("yes_no", user, "yes" if asked == gold else "no")

    def extraction(self, message: Message | None = None) -> Example:
        """Pull some fields out of a text as compact JSON; what the text does not have is null."""
        message = message or (self._make.record() if self._rng.random() < 0.6 else self._make.ticket())
        fields = self._asked_fields(message, self._rng.choice((1, 2, 2, 3, 3, 4)))
        answer = json.dumps({name: message.fields[name] for name in fields}, ensure_ascii=False, separators=(",", ":"))
        values = {
            "text": message.text,
            "fields": self._join([name.replace("_", self._rng.choice("_ ")) for name in fields]),
        }
        return self._asked("extraction", "extract", values, answer)

    def field(self) -> Example:
        """Copy one field out of a text, or say none."""
        message = self._make.record() if self._rng.random() < 0.6 else self._make.ticket()
        (name,) = self._asked_fields(message, 1)
        values = {"text": message.text, "field": self._grammar.expand(f"field.{name}", self._rng)}
        user = self._grammar.expand("field.user", self._rng, values.get)
        return self._with_generic_system("field", user, message.fields[name] or "none")

    def reply(self) -> Example:
        """Draft a short reply to a ticket."""
        ticket = self._make.ticket()
        parts = [f"reply.opening.{ticket.sentiment}", f"reply.{ticket.team}"]
        if ticket.fields["order_number"]:
            parts.append("reply.order")
        answer = " ".join(self._grammar.expand(part, self._rng, ticket.fields.get) for part in parts)
        return self._asked("reply", "reply", {"text": ticket.text}, answer)

    def small_talk(self) -> Example:
        """A question about pagednb or the model, with its one answer."""
        topics = [name for name in self._grammar.names("ask.") if name != "ask.refuse"]
        return self._talk("small_talk", self._rng.choice(topics))

    def refusal(self) -> Example:
        """A question that the model cannot answer, and says so."""
        return self._talk("refusal", "ask.refuse")

    def _talk(self, task: str, section: str) -> Example:
        facts = self._make.new_facts()
        question = self._grammar.expand(section, self._rng, facts)
        if self._rng.random() < 0.2:
            question = self._grammar.expand("wrap", self._rng, {"question": question}.get)
        if self._rng.random() < 0.15:
            question = question.lower().rstrip("?.!")
        return self._with_generic_system(
            task, question, self._grammar.expand(section.replace("ask", "answer", 1), self._rng)
        )

    def _labelled(self, task: str, section: str, message: Message, gold: str, labels: Sequence[str]) -> Example:
        """Ask for one of some labels. An answer is written the way the question writes the labels."""
        rng = self._rng
        asked = self._some_labels(gold, labels)
        case = rng.choice(_CASES)
        shown = self._join([case(label) for label in asked])
        example = self._asked(task, section, {"text": message.text, "labels": shown}, gold)
        names_labels = any(shown in turn["content"] for turn in example.turns)
        return dataclasses.replace(example, answer=case(gold) if names_labels else gold)

    def _some_labels(self, gold: str, labels: Sequence[str]) -> list[str]:
        rng = self._rng
        if rng.random() < 0.15:
            others = [label for label in labels if label != gold]
            labels = [gold, *rng.sample(others, rng.randint(1, len(others)))]
        return rng.sample(list(labels), len(labels)) if rng.random() < 0.6 or gold not in labels[:2] else list(labels)

    def _join(self, names: Sequence[str]) -> str:
        rng = self._rng
        if len(names) == 1:
            return names[0]
        start, last = ", ".join(names[:-1]), names[-1]
        word = rng.choice(("or", "or", "and")) if names[0].lower() in (*TEAMS, *SENTIMENTS) else "and"
        return rng.choice(
            (
                f"{start} {word} {last}",
                f"{start}, {last}",
                " / ".join(names),
                f"{start}, {word} {last}",
                "|".join(names),
            )
        )

    def _asked(self, task: str, section: str, values: dict[str, str], answer: str) -> Example:
        """Ask in the user's message, or with the instruction as system prompt and the bare text as message."""
        if self._rng.random() < 0.25:
            system = self._grammar.expand(f"{section}.system", self._rng, values.get)
            turns = ({"role": "system", "content": system}, {"role": "user", "content": values["text"]})
            return Example(task, turns, answer)
        user = self._grammar.expand(f"{section}.user", self._rng, values.get)
        return self._with_generic_system(task, user, answer)

    def _with_generic_system(self, task: str, user: str, answer: str) -> Example:
        turns = [{"role": "user", "content": user}]
        if self._rng.random() < 0.12:
            turns.insert(0, {"role": "system", "content": self._grammar.expand("system.generic", self._rng)})
        return Example(task, tuple(turns), answer)

    def _follow_up(self, task: str) -> Example | None:
        """Another text for the question that was asked before, without asking again; None for other tasks."""
        if task not in ("routing", "sentiment") or self._rng.random() < 0.3:
            return None
        message = self._make.ticket() if task == "routing" else self._make.review()
        gold = message.team if task == "routing" else message.sentiment
        user = self._grammar.expand("follow_up", self._rng, {"text": message.text}.get)
        return Example(task, ({"role": "user", "content": user},), str(gold))

    def _asked_fields(self, message: Message, count: int) -> list[str]:
        """Choose fields to ask for: mostly such that the text has, at times one that it lacks."""
        present = [name for name, value in message.fields.items() if value is not None]
        absent = [name for name, value in message.fields.items() if value is None]
        self._rng.shuffle(present)
        ask_absent = bool(absent) and self._rng.random() < 0.3
        fields = present[: count - ask_absent]
        return self._shuffled([*fields, *self._rng.sample(absent, min(len(absent), count - len(fields)))])

    def _shuffled(self, names: list[str]) -> list[str]:
        return self._rng.sample(names, len(names))
