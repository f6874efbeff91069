"""Prompt templates: which braces are fields, and how a field becomes text. Shared by magics and dataframe verbs.

A field is ``{name}``, ``{name.attr}``, ``{name[0]}``, ``{name['key']}``, each with an optional ``!r`` and ``:format``;
nothing stands between the brace and the name. Every other brace (JSON, code, LaTeX) is text. Doubled braces around a
field that resolves are literal braces, as in an f-string. Values are inserted once and never read as a template.

Two policies: ``Template.render`` leaves a field that does not resolve as it stands (magics); ``Template.bind`` checks
all fields against the column names first, raises with the nearest one, and renders many rows (frames). Knows nothing
of IPython or pandas.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal

from pagednb.errors import TemplateError, nearest_name

# The braces nearest to a text without braces. Possessive, and anchored at the start of a run: linear in any input.
_BRACED = re.compile(r"(?<!\{)(\{++)([^{}]*+)(\}++)")
# A format is Python's mini-language (without the space sign, which would take the JavaScript `{a: 1}` for a field; at
# most four digits of width, so that no template allocates gigabytes) or a date format such as `%d %b`.
_FORMAT = r"(?:.?[<>=^])?[+-]?z?\#?\d{0,4}[_,]?(?:\.\d{1,4})?[bcdeEfFgGnosxX%]?|[^{}'\"()]*%[A-Za-z][^{}'\"()]*"
_STEP = r"""\.[^\W\d_]\w*|\[-?\d{1,18}\]|\['[^'\\]*'\]|\["[^"\\]*"\]"""
_TAIL = rf"(?P<path>(?:{_STEP})*)(?:!(?P<conversion>[rsa]))?(?::(?P<format>{_FORMAT}))?"
_TAIL_PATTERN = re.compile(_TAIL, re.DOTALL)
_FIELD_PATTERN = re.compile(rf"(?P<name>[^\W\d]\w*|`[^`]+`|){_TAIL}", re.DOTALL)
_CONVERSIONS: Mapping[str, Callable[[object], str]] = {"r": repr, "s": str, "a": ascii}


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field: the name to look up, and what to do with its value.

    ``path`` holds attribute names as ``(".", name)`` and literal keys as ``("[", key)``. ``name`` is empty for ``{}``.
    """

    source: str
    name: str
    path: tuple[tuple[Literal[".", "["], str | int], ...] = ()
    conversion: str | None = None
    format_spec: str = ""

    def format(self, value: object) -> str:
        """Follow the path from ``value`` and return the text. Calls nothing and enters no private attribute.

        Raises:
            TemplateError: the path leads nowhere or to a method, or the value cannot be formatted so.
        """
        try:
            for kind, key in self.path:
                value = getattr(value, str(key)) if kind == "." else value[key]  # type: ignore[index]
                if kind == "." and inspect.isroutine(value):
                    raise TemplateError(f"{{{self.source}}} is a method; templates call nothing.")
            if self.conversion:
                value = _CONVERSIONS[self.conversion](value)
            return format(value, self.format_spec)
        except TemplateError:
            raise
        except Exception as error:  # the value's own code runs here and may raise anything
            raise TemplateError(f"{{{self.source}}} cannot be filled: {type(error).__name__}: {error}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class _Braced:
    """``num_open`` braces, a text without braces, ``num_close`` braces."""

    num_open: int
    body: str
    num_close: int

    @property
    def depth(self) -> int:
        """Pairs of braces around the body; an even number is an escape."""
        return min(self.num_open, self.num_close)

    @property
    def is_escape(self) -> bool:
        return self.depth % 2 == 0

    @property
    def source(self) -> str:
        return "{" * self.num_open + self.body + "}" * self.num_close

    def around(self) -> tuple[str, str]:
        """Literal braces left and right of the value: half of the pairs, and all that have no partner."""
        half = self.depth // 2
        return "{" * (half + self.num_open - self.depth), "}" * (half + self.num_close - self.depth)


class Template:
    """A text with fields, parsed once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._pieces = tuple(_split(text))

    @property
    def fields(self) -> tuple[Field, ...]:
        """Everything that has the form of a field, escaped ones left out, whether or not it resolves."""
        candidates = (
            _parse(piece.body) for piece in self._pieces if isinstance(piece, _Braced) and not piece.is_escape
        )
        return tuple(field for field in candidates if field is not None)

    def render(self, resolve: Callable[[Field], str | None]) -> str:
        """Return the text with each field replaced by ``resolve(field)``; one that gives None stays as it stands."""
        return "".join(piece if isinstance(piece, str) else _render_braced(piece, resolve) for piece in self._pieces)

    def bind(self, names: Collection[str]) -> BoundTemplate:
        """Fix the fields against known names. A name may hold spaces: ``{ticket text}``, or ``{`a.b`}`` if in doubt.

        Raises:
            TemplateError: a field names none of them; the hint names the nearest.
        """
        pieces: list[str | Field] = []
        for piece in self._pieces:
            if isinstance(piece, str):
                pieces.append(piece)
                continue
            field = _match_name(piece.body, names)
            if field is None:
                _refuse_unknown(piece, names)
                pieces.append(piece.source)
                continue
            left, right = piece.around()
            pieces += [left, piece.body if piece.is_escape else field, right]
        return BoundTemplate(pieces)


class BoundTemplate:
    """A template whose fields are known to resolve. ``names`` are the names in use, in order of appearance."""

    def __init__(self, pieces: Sequence[str | Field]) -> None:
        fields = [piece for piece in pieces if isinstance(piece, Field)]
        self.names: tuple[str, ...] = tuple(dict.fromkeys(field.name for field in fields))
        self._pieces = [
            piece if isinstance(piece, str) else (piece, self.names.index(piece.name))
            for piece in pieces
            if piece != ""
        ]

    def after(self, text: str) -> BoundTemplate:
        """Return the template with ``text`` before it, taken as it stands."""
        return BoundTemplate([text, *self.pieces])

    @property
    def pieces(self) -> list[str | Field]:
        """Texts and fields, in order; a template can be made of any part of them."""
        return [piece if isinstance(piece, str) else piece[0] for piece in self._pieces]

    def render(self, values: Sequence[object]) -> str:
        """Return the text for one row; ``values`` follow ``names``.

        Raises:
            TemplateError: a value has no such attribute or item, or refuses its format.
        """
        return "".join(piece if isinstance(piece, str) else piece[0].format(values[piece[1]]) for piece in self._pieces)

    def filled_with(self, text: str) -> str:
        """Return the text with ``text`` in the place of each field, formats aside."""
        return "".join(piece if isinstance(piece, str) else text for piece in self._pieces)

    def render_pieces(self, values: Sequence[object]) -> list[tuple[str, bool]]:
        """Return the parts that ``render`` joins, each with whether it comes from the row. Raises as ``render``."""
        return [
            (piece, False) if isinstance(piece, str) else (piece[0].format(values[piece[1]]), True)
            for piece in self._pieces
        ]


def resolve_in(names: Mapping[str, object]) -> Callable[[Field], str | None]:
    """Return a resolver for ``Template.render`` over a namespace, such as a notebook's variables."""

    def resolve(field: Field) -> str | None:
        name = unicodedata.normalize("NFKC", field.name)  # as Python stores identifiers: a micro sign becomes a mu
        if name not in names or (name.startswith("__") and name.endswith("__")):
            return None
        try:
            return field.format(names[name])
        except TemplateError:
            return None

    return resolve


def _split(text: str) -> Iterator[str | _Braced]:
    end = 0
    for match in _BRACED.finditer(text):
        yield text[end : match.start()]
        yield _Braced(len(match[1]), match[2], len(match[3]))
        end = match.end()
    yield text[end:]


def _parse(body: str) -> Field | None:
    """The field that ``body`` has the form of, whatever names exist."""
    match = _FIELD_PATTERN.fullmatch(body)
    return None if match is None else _field_from(body, match["name"].strip("`"), match)


def _field_from(source: str, name: str, tail: re.Match[str]) -> Field:
    steps: list[tuple[Literal[".", "["], str | int]] = []
    for step in re.findall(_STEP, tail["path"]):
        inner = step[1:-1]
        if step[0] == ".":
            steps.append((".", step[1:]))
        else:
            steps.append(("[", inner[1:-1] if inner[0] in "'\"" else int(inner)))
    return Field(source, name, tuple(steps), tail["conversion"], tail["format"] or "")


def _render_braced(piece: _Braced, resolve: Callable[[Field], str | None]) -> str:
    field = _parse(piece.body)
    value = None if field is None else resolve(field)
    if value is None:
        return piece.source
    left, right = piece.around()
    return left + (piece.body if piece.is_escape else value) + right


def _match_name(body: str, names: Collection[str]) -> Field | None:
    """The field that ``body`` is: the longest known name that begins it and leaves a valid tail, or a quoted one."""
    if not _starts_with_space_or_quote(body):
        for name in sorted((name for name in names if body.startswith(name)), key=len, reverse=True):
            tail = _TAIL_PATTERN.fullmatch(body, len(name))
            if tail:
                return _field_from(body, name, tail)
    field = _parse(body)
    return field if field is not None and field.name in names else None


def _starts_with_space_or_quote(body: str) -> bool:
    return body[:1].isspace() or body[:1] in ("'", '"')


def _refuse_unknown(piece: _Braced, names: Collection[str]) -> None:
    """Raise if ``piece`` is meant as a field: it has the form of one, or of a name with spaces close to a known one."""
    if piece.is_escape:
        return
    field = _parse(piece.body)
    known = [name for name in names if name]
    name = field.name if field else piece.body
    nearest = nearest_name(name, known)
    is_meant = bool(field.name) if field else nearest is not None and not _starts_with_space_or_quote(name)
    if is_meant:
        hint = f"Did you mean {{{nearest}}}?" if nearest else f"Known: {', '.join(map(repr, known)) or 'none'}."
        raise TemplateError(f"The template has the field {{{piece.body}}}, but there is no {name!r}.", hint=hint)
