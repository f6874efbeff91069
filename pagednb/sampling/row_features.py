"""Which rows use an optional feature, kept on the host so that a step without such rows costs nothing."""

from __future__ import annotations

import numpy as np

_UNUSED = -1


class RowValues:
    """A non-negative integer for each row that uses a feature."""

    def __init__(self, num_rows: int) -> None:
        self._values = np.full(num_rows, _UNUSED, dtype=np.int64)
        self._num_used = 0

    @property
    def is_empty(self) -> bool:
        """Whether no row uses the feature."""
        return self._num_used == 0

    def set(self, row: int, value: int) -> None:
        """Give ``row`` a value."""
        assert value >= 0 and self._values[row] == _UNUSED, f"row {row} was not released"
        self._values[row] = value
        self._num_used += 1

    def pop(self, rows: np.ndarray) -> np.ndarray:
        """Forget ``rows``; return the values of those that had one."""
        if self.is_empty:
            return self._values[:0]
        values = self._values[rows]
        self._values[rows] = _UNUSED
        used: np.ndarray = values[values != _UNUSED]
        self._num_used -= len(used)
        return used

    def select(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(positions, values)``: where in ``rows`` the feature is used, and with which values; int64."""
        if self.is_empty:
            return self._values[:0], self._values[:0]
        values = self._values[rows]
        positions = np.flatnonzero(values != _UNUSED)
        return positions, values[positions]


class RowSlots:
    """Compact slots for the rows that use a feature, so that its device state grows with its users only."""

    def __init__(self, num_rows: int) -> None:
        self._slots = RowValues(num_rows)
        self._free: list[int] = []
        self._num_slots = 0

    @property
    def is_empty(self) -> bool:
        """Whether no row holds a slot."""
        return self._slots.is_empty

    @property
    def num_slots(self) -> int:
        """Slots ever handed out: the least capacity of the device state."""
        return self._num_slots

    def take(self, row: int) -> int:
        """Give ``row`` a slot, a used one where possible."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._num_slots
            self._num_slots += 1
        self._slots.set(row, slot)
        return slot

    def release(self, rows: np.ndarray) -> None:
        """Take the slots of ``rows`` back; rows without one are ignored."""
        self._free.extend(self._slots.pop(rows).tolist())

    def select(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(positions, slots)`` of those of ``rows`` that hold a slot; int64."""
        return self._slots.select(rows)
