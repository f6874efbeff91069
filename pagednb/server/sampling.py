"""From the fields of a request to ``SamplingParams``: the model's own defaults, changed by what was given."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from pagednb.errors import PagednbError
from pagednb.sampling_params import SamplingParams
from pagednb.server.api_error import ApiError, as_api_error
from pagednb.server.protocol.answer_fields import AnswerFields
from pagednb.server.protocol.generate_request import GenerateRequest
from pagednb.server.protocol.response_format import ResponseFormat
from pagednb.server.protocol.sampling_fields import SamplingFields, StructuredOutputs

if TYPE_CHECKING:
    from pagednb.server.desk import Desk

ANY_OBJECT = '{"type": "object"}'
"""The schema of what OpenAI calls a JSON object."""

_OWN_NAMES = {field.name for field in dataclasses.fields(SamplingParams)} - {"logit_bias"}  # JSON's keys are texts
_SAME_NAMES = [name for name in SamplingFields.model_fields if name in _OWN_NAMES]


def sampling_params(desk: Desk, fields: SamplingFields, **overrides: Any) -> SamplingParams:
    """Return the parameters of a request; ``overrides`` are set in any case.

    Raises:
        ApiError: a value out of range, or constraints that cannot be followed.
    """
    given = {name: value for name in _SAME_NAMES if (value := getattr(fields, name)) is not None}
    if fields.logit_bias:
        given["logit_bias"] = _biases(fields.logit_bias)
    constraints = _constraints(fields)
    if constraints and "schema" in overrides:
        raise _several_constraints()
    given |= {**constraints, **overrides}
    for name in ("n", "best_of"):
        if (count := given.get(name, 1)) > desk.settings.max_n:
            raise ApiError(f"{name}={count} is more than this server gives: {desk.settings.max_n}.", param=name)
    try:
        return desk.engine.default_sampling_params(**given)
    except PagednbError as error:
        raise as_api_error(error) from None
    except RecursionError:
        raise ApiError("The schema is nested too deeply.") from None


def refuse_late_figures(body: AnswerFields | GenerateRequest, params: SamplingParams) -> None:
    """Raise ApiError if a stream is asked for what is known at its end only, or is about the prompt."""
    if not body.stream:
        return
    if params.is_ranked:
        raise ApiError("Which answers are the best shows at their end: with best_of leave stream out.", param="best_of")
    if params.prompt_logprobs is not None:
        raise ApiError("Log-probabilities of a prompt come in one piece: leave stream out.", param="prompt_logprobs")


def _biases(sent: dict[str, float]) -> dict[int, float]:
    try:
        return {int(token_id): bias for token_id, bias in sent.items()}
    except ValueError:
        raise ApiError("The keys of logit_bias are token ids.", param="logit_bias") from None


def _constraints(fields: SamplingFields) -> dict[str, Any]:
    """Return the constraints that were given under vLLM's names; ``SamplingParams`` refuses more than one."""
    structured = fields.structured_outputs or StructuredOutputs()
    schemas = [schema_text(schema) for schema in (fields.guided_json, structured.json_) if schema is not None]
    pairs: list[tuple[str, Any]] = [
        *_form(fields.response_format),
        *(("schema", schema) for schema in schemas),
        ("choices", fields.guided_choice),
        ("choices", structured.choice),
        ("regex", fields.guided_regex),
        ("regex", structured.regex),
        ("grammar", fields.guided_grammar),
        ("grammar", structured.grammar),
        ("schema", ANY_OBJECT if structured.json_object else None),
    ]
    given = [(name, value) for name, value in pairs if value is not None]
    if len(given) > 1:
        raise _several_constraints()
    return dict(given)


def _form(wanted: ResponseFormat | None) -> list[tuple[str, str]]:
    if wanted is None:
        return []
    if (wanted.type == "json_schema") is (wanted.json_schema is None):
        raise ApiError("A response_format has a json_schema if its type is json_schema.", param="response_format")
    if wanted.json_schema is not None:
        return [("schema", schema_text(wanted.json_schema.schema_))]
    return [("schema", ANY_OBJECT)] if wanted.type == "json_object" else []


def _several_constraints() -> ApiError:
    return ApiError(
        "An answer has one constraint, and several were given. Give one of response_format, structured_outputs and "
        "guided_json, and none beside a tool call that is required."
    )


def schema_text(schema: str | dict[str, Any]) -> str:
    """Return a JSON Schema as text: ``SamplingParams`` also takes dicts that are none, which no client means."""
    return schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False)
