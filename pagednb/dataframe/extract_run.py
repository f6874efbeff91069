"""The run of ``extract``: prompts that name the fields, parameters that hold answers to the schema, values read back.

The accessor checks options and starts the run that is made here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from pagednb.dataframe.answer_schema import AnswerSchema
from pagednb.dataframe.extracted import ExtractedColumns
from pagednb.dataframe.options import row_sampling_params
from pagednb.dataframe.prompts import RowPrompts
from pagednb.dataframe.results import ErrorPolicy, frame_with_columns, listed_failures, report_failures
from pagednb.dataframe.row_job import RowOutcome
from pagednb.dataframe.run import VerbRun
from pagednb.dataframe.schema_prompt import fields_in_words
from pagednb.errors import OptionError
from pagednb.sampling_params import SamplingParams, require_sampling_params

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine


def required_schema(schema: object, response_format: object) -> AnswerSchema:
    """Return the schema that was given under one of its two names.

    Raises:
        OptionError: neither or both were given.
        SchemaError: what was given is no schema.
    """
    if (schema is None) == (response_format is None):
        raise OptionError("extract needs schema=.", hint='For example schema={"brand": str, "year": int | None}.')
    return AnswerSchema.of(response_format if schema is None else schema)


def schema_prompts(prompts: RowPrompts, schema: AnswerSchema) -> RowPrompts:
    """Return the prompts with the fields in words before them: the same for all rows, so it is computed once."""
    template = prompts.template.after(f"{fields_in_words(schema.fields)}\n\n")
    return dataclasses.replace(prompts, template=template)


def schema_params(
    sampling_params: SamplingParams | None, options: Mapping[str, Any], schema: AnswerSchema
) -> SamplingParams:
    """Return parameters that hold every answer to the schema; greedy unless a temperature is given.

    Raises:
        OptionError, NotSupportedYetError: as ``row_sampling_params``.
    """
    if sampling_params is None:
        return row_sampling_params(None, {**options, "schema": schema.text}, {}, verb="extract")
    constrained: Mapping[str, Any] = {"schema": schema.text}
    params = dataclasses.replace(require_sampling_params(sampling_params), **constrained)
    return row_sampling_params(params, options, {}, verb="extract")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extraction:
    """One call of ``extract``: the rows, where values go, and what is told beside the figures."""

    data: pd.DataFrame | pd.Series
    target: ExtractedColumns
    template: str | None
    system: str | None
    errors: ErrorPolicy

    def as_run(self, engine: LLMEngine, prompts: RowPrompts, params: SamplingParams) -> VerbRun[Any]:
        """Return the run; ``prompts`` are those of the template alone."""
        schema = self.target.schema
        details = {"verb": "extract", "template": self.template, "into": self.target.into}
        details["schema"] = schema.text if self.target.expand else None  # a class that makes objects is no JSON

        def read(outcome: RowOutcome) -> tuple[list[Any], RowOutcome]:
            return read_answers(outcome, schema, params, makes_instances=not self.target.expand)

        def place(outcome: RowOutcome) -> Any:
            values, settled = read(outcome)
            failures = listed_failures(settled)
            model = engine.resolved.name
            figures = settled.figures.as_attrs(model=model, params=params, system=self.system, failures=failures)
            return self._placed(values, settled, figures | details)

        return VerbRun(
            engine=engine,
            prompts=schema_prompts(prompts, schema),
            params=params,
            system=self.system,
            spec={"verb": "extract", "template": self.template},
            place=place,
            report=lambda outcome: report_failures(self.data, read(outcome)[1], self.target.error_into, self.errors),
        )

    def _placed(self, values: list[Any], outcome: RowOutcome, figures: Mapping[str, Any]) -> Any:
        columns = self.target.series_of(values, self.data.index)
        if isinstance(self.data, pd.DataFrame):
            return frame_with_columns(self.data, columns, outcome, self.target.error_into, figures)
        result: Any = pd.DataFrame(columns, index=self.data.index)
        if not self.target.expand:
            result = result[self.target.error_into].rename(self.data.name)
        result.attrs = {**self.data.attrs, "pagednb": dict(figures)}
        return result


def read_answers(
    outcome: RowOutcome, schema: AnswerSchema, params: SamplingParams, *, makes_instances: bool
) -> tuple[list[Any], RowOutcome]:
    """Return a value a row, None without one, and the outcome with unusable answers among its errors."""
    values: list[Any] = [None] * len(outcome.texts)
    errors = dict(outcome.errors)
    for row, text in enumerate(outcome.texts):
        if text is not None:
            try:
                values[row] = _read(text, schema, params, makes_instances=makes_instances)
            except _UnusableAnswer as reason:
                errors[row] = str(reason)
    figures = dataclasses.replace(outcome.figures, failed=len(errors))
    return values, RowOutcome(outcome.texts, errors, figures)


class _UnusableAnswer(Exception):  # noqa: N818  (a reason, seen only here)
    """Why an answer gives no value, as a sentence."""


def _read(text: str, schema: AnswerSchema, params: SamplingParams, *, makes_instances: bool) -> Any:
    if not text.rstrip().endswith("}"):
        raise _UnusableAnswer(f"The answer was cut at max_tokens={params.max_tokens}.")
    try:
        values = schema.parse(text)
    except ValueError as error:
        # an object cut behind an inner brace is no JSON either
        raise _UnusableAnswer(
            f"The answer does not fit the schema, or was cut at max_tokens={params.max_tokens}: {error}."
        ) from error
    if not makes_instances:
        return values
    try:
        return schema.instance(values)
    except Exception as error:  # the class's own code runs here and may raise anything
        raise _UnusableAnswer(f"The schema's class refused the values: {type(error).__name__}: {error}") from error
