"""Values that a message mentions: order numbers, products, amounts, dates, names.

``Facts`` draws each value once for each message and remembers which ones the message used; those are the gold answers
of the extraction task, copied as they stand in the text.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from pagednb.embedded_model.grammar import Grammar

FIELDS = ("order_number", "product", "amount", "date", "name", "city", "email")

# a message that used one of these mentions a second value of that field, so the field has no single answer
_BLURS = {"item": "product", "gadget": "product", "city_2": "city", "country": "city", "colleague": "name"}
_SYLLABLES = tuple(consonant + vowel for consonant in (*"bdfklmnprstvz", "br", "dr") for vowel in "aeiou")
_DOMAINS = ("example.com", "mail.example", "example.org", "post.example", "inbox.example", "example.net")


class Facts:
    """The values of one message. Call it with the name of a slot."""

    def __init__(self, grammar: Grammar, rng: random.Random) -> None:
        self._grammar = grammar
        self._rng = rng
        self._makers: dict[str, Callable[[], str]] = {
            "order_number": self._order_number,
            "product": self._product,
            "amount": self._amount,
            "date": self._date,
            "name": self._name,
            "colleague": self._name,
            "city": lambda: grammar.expand("city", rng),
            "city_2": lambda: grammar.expand("city", rng),
            "email": self._email,
            "phone": lambda: f"0{rng.randint(30, 99)} {rng.randint(100000, 9999999)}",
            "code": self._code,
            "digits": lambda: str(rng.randint(2, 999)),
            "tracking": lambda: "".join(rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in "12") + self._digits(9),
            "version": lambda: f"{rng.randint(1, 9)}.{rng.randint(0, 12)}{rng.choice(('', f'.{rng.randint(0, 9)}'))}",
        }
        self._values: dict[str, str] = {}
        self._blurred: set[str] = set()

    def __call__(self, slot: str) -> str | None:
        """Return the message's value for a slot, or None if the slot is not a value but a section of the grammar."""
        if slot in _BLURS:
            self._blurred.add(_BLURS[slot])
        maker = self._makers.get(slot)
        if maker is None:
            return None
        return self._values.setdefault(slot, maker())

    @property
    def values(self) -> list[str]:
        """Everything that must not be altered by typos."""
        return list(self._values.values())

    @property
    def fields(self) -> dict[str, str | None]:
        """Field -> its value in the text, None if the text has none. Fields without a single answer are left out."""
        return {name: self._values.get(name) for name in FIELDS if name not in self._blurred}

    def _digits(self, count: int) -> str:
        return "".join(self._rng.choice("0123456789") for _ in range(count))

    def _order_number(self) -> str:
        rng = self._rng
        letters = "".join(rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
        return rng.choice(
            (
                f"PN-{self._digits(5)}",
                f"#{self._digits(rng.randint(4, 7))}",
                f"{letters}-{self._digits(rng.randint(4, 6))}",
                f"{letters}{self._digits(6)}",
                f"20{self._digits(2)}-{self._digits(rng.randint(4, 6))}",
                f"{self._digits(3)}-{self._digits(4)}-{self._digits(2)}",
                self._digits(rng.randint(5, 9)),
            )
        )

    def _product(self) -> str:
        rng, word = self._rng, self._word
        kind = rng.random()
        if kind < 0.3:
            return f"{self._invented().capitalize()} {word('item')}"
        if kind < 0.4:
            return f"{self._invented().capitalize()} {rng.choice('XSPMTR')}{rng.randint(1, 99)} {word('item')}"
        if kind < 0.55:
            return f"{word('quality')} {word('colour')} {word('item')}"
        return f"{word(rng.choice(('colour', 'material', 'quality')))} {word('item')}"

    def _amount(self) -> str:
        rng = self._rng
        whole, cents = rng.choice((rng.randint(2, 99), rng.randint(100, 1999))), rng.choice((0, 50, 90, 95, 99))
        number = rng.choice((f"{whole}.{cents:02}", f"{whole}.{rng.randint(0, 99):02}", str(whole)))
        if whole >= 1000 and rng.random() < 0.5:
            number = f"{whole // 1000},{whole % 1000:03}.{cents:02}"
        return rng.choice(("€{}", "${}", "£{}", "{} euros", "{} dollars", "{} EUR", "EUR {}", "{} €")).format(number)

    def _word(self, section: str) -> str:
        return self._grammar.expand(section, self._rng)

    def _date(self) -> str:
        rng = self._rng
        day, month, year = rng.randint(1, 28), self._grammar.expand("month", rng), rng.randint(2019, 2029)
        number = rng.randint(1, 12)
        return rng.choice(
            (
                f"{day} {month}",
                f"{month} {day}",
                f"{day} {month} {year}",
                f"{month} {day}, {year}",
                f"{year}-{number:02}-{day:02}",
                f"{day:02}.{number:02}.{year}",
                f"{number:02}/{day:02}/{year}",
            )
        )

    def _name(self) -> str:
        first = self._grammar.expand("first_name", self._rng)
        kind = self._rng.random()
        if kind < 0.35:
            return first
        if kind < 0.85:
            return f"{first} {self._grammar.expand('last_name', self._rng)}"
        return f"{self._invented().capitalize()} {self._grammar.expand('last_name', self._rng)}"

    def _email(self) -> str:
        rng = self._rng
        local = rng.choice(
            (self._invented(), f"{self._invented()}.{self._invented()}", f"{self._invented()}{self._digits(2)}")
        )
        return f"{local}@{rng.choice(_DOMAINS)}"

    def _code(self) -> str:
        rng = self._rng
        return rng.choice(
            (f"E{rng.randint(1, 99)}", f"E-{self._digits(3)}", str(rng.randint(400, 599)), f"0x{self._digits(4)}")
        )

    def _invented(self) -> str:
        return "".join(self._rng.choice(_SYLLABLES) for _ in range(self._rng.randint(2, 3)))
