"""``tickets.csv``: 500 good rows, made again bit for bit, none of them ever possible in training."""

from __future__ import annotations

import collections
import csv
import pathlib

from pagednb.embedded_model import tickets_path
from pagednb.embedded_model.messages import SENTIMENTS, TEAMS
from pagednb.embedded_model.tickets import COLUMNS, write_tickets


def rows() -> list[dict[str, str]]:
    with tickets_path().open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_complete_and_different() -> None:
    tickets = rows()
    assert len(tickets) == 500
    assert tuple(tickets[0]) == COLUMNS
    assert len({ticket["text"] for ticket in tickets}) == len({ticket["id"] for ticket in tickets}) == 500
    assert all(8 <= len(ticket["text"].split()) <= 60 for ticket in tickets)


def test_gold_labels_are_valid_and_balanced() -> None:
    tickets = rows()
    assert collections.Counter(ticket["team"] for ticket in tickets) == dict.fromkeys(TEAMS, 100)
    assert {ticket["sentiment"] for ticket in tickets} == set(SENTIMENTS)
    assert all(ticket["order_number"] in ticket["text"] for ticket in tickets)
    assert sum(bool(ticket["order_number"]) for ticket in tickets) >= 20


def test_texts_hold_what_real_files_hold() -> None:
    text = "".join(ticket["text"] for ticket in rows())
    assert "\n" in text
    assert '"' in text
    assert any(ord(letter) > 0xFFFF for letter in text)


def test_the_file_is_what_the_script_writes(tmp_path: pathlib.Path) -> None:
    write_tickets(tmp_path / "tickets.csv")
    assert (tmp_path / "tickets.csv").read_bytes() == tickets_path().read_bytes()
