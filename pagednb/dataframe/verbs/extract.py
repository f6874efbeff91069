"""The verb ``extract``: prompts that name the fields, parameters that hold answers to the schema, typed columns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.extraction.columns import ExtractedColumns
from pagednb.dataframe.extraction.prompt import fields_in_words, schema_prompts
from pagednb.dataframe.extraction.task import ExtractTask
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.failures import ErrorPolicy, check_errors
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.rows.verb_rows import Accessor, Target
from pagednb.dataframe.run.conduct import start_run
from pagednb.dataframe.run.options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.run.sampling import engine_and_params, options_of, row_sampling_params
from pagednb.dataframe.run.verb_run import ColumnVerb
from pagednb.errors import OptionError
from pagednb.sampling_params import SamplingParams, require_sampling_params


def extract(
    self: Accessor,
    template: Hashable = None,
    *,
    schema: Any = None,
    expand: bool = True,
    into: str | None = None,
    response_format: Any = None,
    system: str | None = None,
    errors: ErrorPolicy = "coerce",
    progress: ProgressOption = None,
    sample: int | None = None,
    random_state: int = 0,
    truncate: TruncateOption = "error",
    cache: CacheOption = True,
    checkpoint: CheckpointOption = None,
    background: bool = False,
    sampling_params: SamplingParams | None = None,
    **sampling: Any,
) -> Any:
    """Return a copy of the frame with a typed column for each field of a schema.

    Of a series, return a frame of these columns, or with ``expand=False`` a series of objects.

    Args:
        template: As in ``generate``. The fields in words, with their descriptions, are put before it.
        schema: A pydantic model, a dataclass, a TypedDict, a dict of types such as
            ``{"brand": str, "year": int | None}``, or JSON Schema. ``response_format`` is the same option.
        expand: True: a column a field: text, ``Int64``, ``Float64``, ``boolean``, ``category`` with all choices of an
            Enum or Literal, Python objects for anything nested. False: one column of dicts, or of instances where a
            class was given; validators of a class run only then.
        into: Columns are called ``<into>_<field>``, and those of the name are replaced. Without it they have the
            fields' plain names, which the frame must not have. With ``expand=False`` the column's name, "extracted"
            if not given. Reasons of failed rows are in ``<into>_error``.
        system, errors, progress, sample, random_state, truncate, cache, checkpoint, background, sampling_params,
        **sampling: As in ``generate``; greedy by default. An answer cut at ``max_tokens`` is a failed row.

    Raises:
        SchemaError: the schema holds what is not supported.
        OptionError: a column of a field's name is there already, or as in ``generate``.
        TemplateError, EngineNotLoadedError, RowErrors: as in ``generate``.
    """
    rows = self.rows
    columns = ExtractedColumns(required_schema(schema, response_format), into, expand)
    columns.check(rows)
    check_errors(errors)
    trial = RowSample.of(sample, random_state)
    kept: dict[str, Any] = {"cache": cache, "checkpoint": checkpoint}
    options = RunOptions(sample=trial, truncate=truncate, background=background, progress=progress, **kept)
    prompts = schema_prompts(rows.prompts(template), columns.schema)
    engine, params = engine_and_params(schema_params(sampling_params, sampling, columns.schema), {}, system)

    def values_of(outcome: RowOutcome[Any]) -> Mapping[str, Any]:
        # each row its own objects, also where equal rows share an answer
        return columns.series_of([copy.deepcopy(value) for value in outcome.values], rows.data.index)

    verb = ColumnVerb(
        rows=rows,
        engine=engine,
        prompts=prompts,
        task=ExtractTask(params, columns.schema, makes_instances=not expand),
        chat=Chat(system),
        template=template,
        target=Target.of(into, columns.error_into),
        errors=errors,
        columns=values_of,
        words=fields_in_words(columns.schema.fields),
        made=columns.names,
        holds=columns.holds,
        # a class that makes objects is no JSON
        details={"into": into, "truncate": truncate, "schema": columns.schema.given if expand else None},
    )
    return start_run(verb.as_run(), options)


def required_schema(schema: object, response_format: object) -> AnswerSchema:
    """Return the schema that was given under one of its two names.

    Raises:
        OptionError: neither or both were given.
        SchemaError: what was given is no schema.
    """
    if schema is not None and response_format is not None:
        raise OptionError("schema and response_format are two names of one option.", hint="Give one of them.")
    if schema is None and response_format is None:
        raise OptionError("extract needs schema=.", hint='For example schema={"brand": str, "year": int | None}.')
    return AnswerSchema.of(response_format if schema is None else schema)


def schema_params(
    sampling_params: SamplingParams | None, options: Mapping[str, Any], schema: AnswerSchema
) -> SamplingParams:
    """Return parameters that hold every answer to the schema; greedy unless a temperature is given.

    Raises:
        OptionError, NotSupportedYetError: as ``row_sampling_params``.
    """
    if sampling_params is None:
        return row_sampling_params(
            None, {**options, "schema": schema.text}, {}, verb="extract", verb_options=options_of(extract)
        )
    constrained: Mapping[str, Any] = {"schema": schema.text}
    params = dataclasses.replace(require_sampling_params(sampling_params), **constrained)
    return row_sampling_params(params, options, {}, verb="extract")
