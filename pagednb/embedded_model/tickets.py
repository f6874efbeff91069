"""Write ``tickets.csv``, the table of the demo: ``python -m pagednb.embedded_model.tickets``.

500 support tickets with gold labels, made of held-out sentences only, so the embedded model never saw one of them.
"""

from __future__ import annotations

import csv
import pathlib
import random

from pagednb.embedded_model import tickets_path
from pagednb.embedded_model.grammar import Grammar
from pagednb.embedded_model.messages import TEAMS, Message, MessageMaker

SEED = 500
NUM_TICKETS = 500
COLUMNS = ("id", "text", "team", "sentiment", "order_number")
_MIN_WORDS, _MAX_WORDS = 8, 60


def make_tickets(count: int = NUM_TICKETS, seed: int = SEED) -> list[Message]:
    """Return different tickets, as many of each team as of any other, in random order."""
    rng = random.Random(seed)
    maker = MessageMaker(Grammar.load("heldout"), rng, noise_rate=0.1)
    tickets: dict[str, Message] = {}
    while len(tickets) < count:
        ticket = maker.ticket(TEAMS[len(tickets) % len(TEAMS)])
        if _MIN_WORDS <= len(ticket.text.split()) <= _MAX_WORDS:
            tickets.setdefault(ticket.text, ticket)
    return rng.sample(list(tickets.values()), count)


def write_tickets(path: pathlib.Path) -> None:
    """Write the table; a ticket without an order number has an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, ticket in enumerate(make_tickets(), start=1):
            order_number = ticket.fields["order_number"] or ""
            writer.writerow((f"T-{number:04}", ticket.text, ticket.team, ticket.sentiment, order_number))


if __name__ == "__main__":
    write_tickets(tickets_path())
