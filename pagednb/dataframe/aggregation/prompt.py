"""How the prompts of ``agg`` read: many rows, or the answers of several calls, in the place of a template's fields.

What stands before the first field and behind the last one is said once a call; what is between them, once a row. Fields
of columns that make the groups are the same for all rows of one, so they may stand anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from pagednb.checks import require_unicode
from pagednb.errors import OptionError, TemplateError
from pagednb.template import BoundTemplate, Field, Template

ANSWERS = "answers"
NOTE = "(What follows are answers to this request, each for a part of the whole. Make one answer of them.)\n\n"


@dataclasses.dataclass(frozen=True)
class GroupPrompt:
    """The prompts of one group."""

    head: str
    tail: str
    separator: str
    combine: BoundTemplate | None = None

    def of_rows(self, texts: Sequence[str]) -> str:
        """Return the prompt that asks about rows."""
        return f"{self.head}{self.separator.join(texts)}{self.tail}"

    def of_answers(self, answers: Sequence[str]) -> str:
        """Return the prompt that makes one answer of several."""
        joined = self.separator.join(answers)
        if self.combine is not None:
            return self.combine.render([joined])
        return f"{self.head}{NOTE}{joined}{self.tail}"


@dataclasses.dataclass(frozen=True)
class AggTemplate:
    """A template in three parts: ``head`` and ``tail`` for each group, ``row`` for each row."""

    head: BoundTemplate
    row: BoundTemplate
    tail: BoundTemplate
    separator: str
    combine: BoundTemplate | None

    @classmethod
    def of(
        cls, template: BoundTemplate, *, group_names: Collection[str], separator: object, combine: object
    ) -> AggTemplate:
        """Split a template; ``group_names`` are names of columns that make the groups.

        Raises:
            TemplateError: no field differs within a group, or ``combine`` has no field ``{answers}``.
            OptionError: ``separator`` or ``combine`` is no text, or is not valid Unicode.
        """
        if not isinstance(separator, str):
            raise OptionError(f"separator={separator!r} is not valid.", hint="Give the text to put between rows.")
        require_unicode("separator", separator)
        if set(template.names) <= set(group_names):
            raise TemplateError(
                "Each field of the template is a column of by=, so nothing differs between the rows of a group.",
                hint="Add a column with the rows' texts.",
            )
        pieces = template.pieces
        varying = [i for i, each in enumerate(pieces) if isinstance(each, Field) and each.name not in group_names]
        first, end = varying[0], varying[-1] + 1
        head, row, tail = (BoundTemplate(part) for part in (pieces[:first], pieces[first:end], pieces[end:]))
        return cls(head, row, tail, separator, None if combine is None else _bound_combine(combine))

    @property
    def has_request(self) -> bool:
        """Whether anything is said beside the rows."""
        return any(bool(part.names) or part.render([]).strip() != "" for part in (self.head, self.tail))


def _bound_combine(combine: object) -> BoundTemplate:
    hint = 'For example combine="Merge these summaries into one:\\n\\n{answers}".'
    if not isinstance(combine, str):
        raise OptionError(f"combine={combine!r} is not valid.", hint=hint)
    require_unicode("combine", combine)
    bound = Template(combine).bind([ANSWERS])
    if not bound.names:
        raise TemplateError("combine has no field {answers}.", hint=hint)
    return bound
