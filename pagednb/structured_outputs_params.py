"""What an answer must be, as vLLM's users say it; ``SamplingParams`` has the same as parameters of its own."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from pagednb.checks import require, signed_by_fields
from pagednb.errors import OptionError, refuse_unknown_options
from pagednb.vllm_options import NOT_IN_STRUCTURED_OUTPUTS, passing_over, refuse_unbuilt_options

_OWNER = "StructuredOutputsParams"
# names here -> those of SamplingParams
_SAME_AS = {"json": "schema", "regex": "regex", "choice": "choices", "grammar": "grammar"}


@signed_by_fields
@passing_over(NOT_IN_STRUCTURED_OUTPUTS)
@dataclasses.dataclass(frozen=True, kw_only=True)
class StructuredOutputsParams:
    """One constraint, for ``SamplingParams(structured_outputs=...)``, which checks it.

    Args:
        json: A JSON Schema, as a dict or as text, or a pydantic model: ``schema`` of ``SamplingParams``.
        regex: A regular expression for the whole answer.
        choice: The texts of which the answer is one.
        grammar: A grammar in the Lark-like form of llguidance.
        json_object: The answer is any JSON object.

    Raises:
        OptionError: an unknown name, or not exactly one constraint.
        NotSupportedYetError: a setting of vLLM's that is not built yet.
    """

    json: Any = None
    regex: str | None = None
    choice: tuple[str, ...] | list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse unknown and not-yet-built names before the generated ``__init__`` sees them."""
        refuse_unbuilt_options(options, NOT_IN_STRUCTURED_OUTPUTS, owner=_OWNER)
        known = [field.name for field in dataclasses.fields(cls)]
        refuse_unknown_options([name for name in options if name not in NOT_IN_STRUCTURED_OUTPUTS], known, owner=_OWNER)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        is_switch = isinstance(self.json_object, bool | None)
        require(is_switch, f"{_OWNER} json_object", self.json_object, "True or False")
        given = [name for name in (*_SAME_AS, "json_object") if getattr(self, name) not in (None, False)]
        if len(given) != 1:
            what = f"{' and '.join(given)} were given" if given else "none was given"
            raise OptionError(f"{_OWNER} has one constraint, and {what}.", hint=f"Give one of {', '.join(_SAME_AS)}.")


def sampling_options(**names: StructuredOutputsParams | None) -> dict[str, Any]:
    """Return the constraint that was given under one of ``names``, as ``SamplingParams`` calls it; or nothing.

    Raises:
        OptionError: something else was given, or two of them.
    """
    given = {name: value for name, value in names.items() if value is not None}
    for name, params in given.items():
        ok = isinstance(params, StructuredOutputsParams)
        require(ok, f"SamplingParams {name}", params, "StructuredOutputsParams(...)")
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} are two names of one option.", hint="Give one of them.")
        if params.json_object:
            return {"schema": {"type": "object"}}
        return {same: value for own, same in _SAME_AS.items() if (value := getattr(params, own)) is not None}
    return {}
