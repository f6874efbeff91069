"""Joins the decoder's slots with a checkpoint's tensors: a plan of copies, checked to the last name and shape.

Nothing is read or allocated here, so a wrong checkpoint is refused in milliseconds.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping, Sequence

from pagednb.errors import WeightError
from pagednb.models.architecture import WeightNames
from pagednb.models.parameters import ParameterSlot
from pagednb.models.stored_tensor import StoredTensor

_MAX_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorCopy:
    """``stored`` goes to rows ``start : start + num_rows`` of a slot, transposed if it lies as ``[in, out]``."""

    stored: StoredTensor
    slot_name: str
    start: int
    num_rows: int
    is_transposed: bool


def plan_copies(
    slots: Sequence[ParameterSlot], names: WeightNames, tensors: Mapping[str, StoredTensor]
) -> list[TensorCopy]:
    """Return the copies that fill every slot from a checkpoint, in the order in which it holds them.

    Raises:
        WeightError: a tensor is missing, surplus, misshapen, or of a dtype that is no plain float.
    """
    by_name = {name.removeprefix(names.prefix): stored for name, stored in tensors.items()}
    wanted = [part for slot in slots for part in _wanted_parts(slot, names)]
    _refuse_missing([part for part in wanted if part.name not in by_name])
    used = {part.name for part in wanted}
    _refuse_surplus(
        [stored.name for name, stored in by_name.items() if name not in used and not _may_skip(name, names)]
    )
    place = {name: index for index, name in enumerate(by_name)}
    return [part.copy_from(by_name[part.name]) for part in sorted(wanted, key=lambda part: place[part.name])]


def tied_head(names: WeightNames, tensors: Mapping[str, StoredTensor]) -> tuple[StoredTensor, StoredTensor] | None:
    """Return the output head and the token embedding of a checkpoint that holds both, or None."""
    by_name = {name.removeprefix(names.prefix): stored for name, stored in tensors.items()}
    head = by_name.get(f"{names.modules['lm_head'][0]}.weight")
    return None if head is None else (head, by_name[f"{names.modules['embed_tokens'][0]}.weight"])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _WantedPart:
    """A tensor that the checkpoint should hold: its name without prefix, and its place in a slot."""

    name: str
    shape: tuple[int, ...]  # as in the slot
    slot_name: str
    start: int
    is_transposed: bool

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape in the checkpoint."""
        return self.shape[::-1] if self.is_transposed else self.shape

    def copy_from(self, stored: StoredTensor) -> TensorCopy:
        """Return the copy from ``stored`` to this place, or raise WeightError if it does not fit."""
        if stored.shape != self.stored_shape:
            asked = list(self.stored_shape)
            raise WeightError(
                f"Tensor {stored.name!r} has shape {list(stored.shape)}; the model's config asks for {asked}.",
                hint="Config and weights do not belong together.",
            )
        if not stored.dtype.is_floating_point or stored.dtype.itemsize < 2:
            raise WeightError(
                f"Tensor {stored.name!r} is stored as {str(stored.dtype).removeprefix('torch.')}.",
                hint="Quantized checkpoints are not supported yet; use the unquantized model.",
            )
        return TensorCopy(
            stored=stored,
            slot_name=self.slot_name,
            start=self.start,
            num_rows=self.shape[0],
            is_transposed=self.is_transposed,
        )


def _wanted_parts(slot: ParameterSlot, names: WeightNames) -> Iterator[_WantedPart]:
    prefix, _, rest = slot.module.partition(".")
    index, _, inner = rest.partition(".")
    module = f"layers.{{}}.{inner}" if prefix == "layers" else slot.module
    sources = names.modules[module]
    # a checkpoint that has the matrices fused has them in our order
    rows = slot.parts if len(sources) == len(slot.parts) else (sum(slot.parts),)
    is_transposed = module in names.transposed and len(slot.shape) == 2
    start = 0
    for source, num_rows in zip(sources, rows, strict=True):
        yield _WantedPart(
            name=f"{source.format(index)}.{slot.kind}",
            shape=(num_rows, *slot.shape[1:]),
            slot_name=slot.name,
            start=start,
            is_transposed=is_transposed,
        )
        start += num_rows


def _may_skip(name: str, names: WeightNames) -> bool:
    """Whether a tensor may stay unread: a buffer, or the head of a model that ties it (``tied_head`` looks at it)."""
    if name == f"{names.modules['lm_head'][0]}.weight":
        return True
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in names.ignored)


def _refuse_missing(parts: Sequence[_WantedPart]) -> None:
    if parts:
        named = [f"{part.name!r} of shape {list(part.stored_shape)}" for part in parts]
        raise WeightError(
            f"The checkpoint lacks {_some(named)}.",
            hint="Config and weights do not belong together, or a shard is lost.",
        )


def _refuse_surplus(names: Sequence[str]) -> None:
    if names:
        raise WeightError(
            f"The checkpoint holds {_some([repr(name) for name in sorted(names)])}, which the model has no place for.",
            hint="Config and weights do not belong together; weights of adapters must be merged first.",
        )


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _MAX_NAMED
    return ", ".join(texts[:_MAX_NAMED]) + (f" and {more} more tensors" if more > 0 else "")
