"""The task of ``generate``: one text a row."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from pagednb.dataframe.generation.whole_answers import require_whole
from pagednb.dataframe.run.task import Answer
from pagednb.dataframe.run.written_task import WrittenTask


@dataclasses.dataclass(frozen=True)
class GenerateTask(WrittenTask):
    """One text a row."""

    name: ClassVar[str] = "generate"

    def value(self, answer: Answer) -> str:
        """Return the text.

        Raises:
            RowFailure: a constraint held it, and it was cut.
        """
        require_whole(answer[0].outputs[0], self.params)
        return answer[0].text
