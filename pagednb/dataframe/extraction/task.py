"""The task of ``extract``: one constrained answer a row, read back as values of the schema's types."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.run.task import Answer, RowFailure
from pagednb.dataframe.run.written_task import WrittenTask


@dataclasses.dataclass(frozen=True)
class ExtractTask(WrittenTask):
    """The values of a schema's fields, as a dict or as an instance of the class that was given."""

    schema: AnswerSchema
    makes_instances: bool
    name: ClassVar[str] = "extract"

    def value(self, answer: Answer) -> Any:
        """Return the values.

        Raises:
            RowFailure: the answer was cut, or the class refuses the values.
        """
        text = answer[0].text
        if not text.rstrip().endswith("}"):
            raise RowFailure(f"The answer was cut at max_tokens={self.params.max_tokens}; give it more.")
        try:
            values = self.schema.parse(text)
        except ValueError as error:
            # an object cut behind an inner brace is no JSON either
            raise RowFailure(
                f"The answer does not fit the schema, or was cut at max_tokens={self.params.max_tokens}: {error}."
            ) from error
        if not self.makes_instances:
            return values
        try:
            return self.schema.instance(values)
        except Exception as error:  # the class's own code runs here and may raise anything
            raise RowFailure(f"The schema's class refused the values: {type(error).__name__}: {error}") from error
