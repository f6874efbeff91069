"""A result cache in one file that is only ever appended to: ``cache="labels.cache"``.

A record is ``MARK | length of the answer | checksum | key | answer``. A kill can leave half a record anywhere; the
reader finds the next mark behind it, so nothing else is lost and the file is never rewritten. Each record is written
by one call on a descriptor opened for appending: several kernels may share the file.
"""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import Self

from pagednb.dataframe.kept.paths import given_path
from pagednb.dataframe.results.callers import callers_level
from pagednb.errors import OptionError

HEADER = b"pagednb result cache 1\n"
MARK = b"\x00\xf7row\xf7\x00\n"
KEY_BYTES = 32
_HEAD = struct.Struct(f"<{len(MARK)}sII{KEY_BYTES}s")
_READ_BYTES = 8 * 2**20


class CacheFile:
    """Answers by key in a file. Memory holds each key and where its answer lies (about 200 bytes), not the answer.

    Raises:
        OptionError: ``path`` is a folder, cannot be opened, or is a file of another kind (it is left as it is).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        whole = given_path("cache", path)
        self.path = str(whole)
        self._lock = threading.Lock()
        self._key_to_place: dict[bytes, tuple[int, int]] = {}
        try:
            whole.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise OptionError(
                f"cache={self.path!r} cannot be opened: {error.strerror}.", hint="Give a file to write to."
            ) from error
        try:
            self._read_header()
            num_broken_bytes = self._read_records()
        except BaseException:
            os.close(self._file)
            raise
        if num_broken_bytes:
            warnings.warn(
                f"The cache {self.path!r} holds {num_broken_bytes} bytes of unfinished records, which were skipped; "
                f"{len(self)} answers are whole.",
                UserWarning,
                stacklevel=callers_level(),
            )

    def __len__(self) -> int:
        return len(self._key_to_place)

    def get(self, key: bytes) -> bytes | None:
        """Return the answer, or None."""
        with self._lock:
            place = self._key_to_place.get(key)
            if place is None:
                return None
            start, length = place
            return self._read_at(start, length)

    def put(self, key: bytes, answer: bytes) -> None:
        """Append an answer; it survives the end of this process, however that comes about."""
        assert len(key) == KEY_BYTES
        record = _HEAD.pack(MARK, len(answer), _checksum(key, answer), key) + answer
        with self._lock:
            if key in self._key_to_place:
                return
            written = os.write(self._file, record)
            if written != len(record):  # the disk is full; the reader skips the fragment
                raise OSError(f"The cache {self.path!r} could not be written.")
            end = os.lseek(self._file, 0, os.SEEK_CUR)  # where this very write ended, whoever else appends
            self._key_to_place[key] = (end - len(answer), len(answer))

    def close(self) -> None:
        """Flush to the device and close; safe to call twice."""
        with self._lock:
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _read_header(self) -> None:
        start = self._read_at(0, len(HEADER))
        if not start:
            os.write(self._file, HEADER)
        elif start != HEADER:
            raise OptionError(f"cache={self.path!r} is a file of another kind.", hint="Give a new file.")

    def _read_records(self) -> int:
        """Fill the table; return how many bytes belong to no whole record."""
        num_broken_bytes, end = 0, len(HEADER)
        size = os.fstat(self._file).st_size
        for start, key, length in self._whole_records(size):
            self._key_to_place[key] = (start + _HEAD.size, length)
            num_broken_bytes += max(start - end, 0)
            end = start + _HEAD.size + length
        return num_broken_bytes + max(size - end, 0)

    def _whole_records(self, size: int) -> Iterator[tuple[int, bytes, int]]:
        """Yield (start, key, length of the answer).

        What a record lost may be just what the record behind it begins with. It is whole again then, and the one behind
        begins inside it: so where no mark follows a record, the search goes back into it. A record that also ends
        inside is none, but part of an answer.
        """
        start = last_start = end = len(HEADER)  # start and end of the last whole record
        while start < size:
            record = self._record_at(start, size)
            if record is not None and start + _HEAD.size + record[1] > end:
                yield start, *record
                last_start, start = start, start + _HEAD.size + record[1]
                end = start
            elif start == end and self._read_at(start, len(MARK)) != MARK:
                start = self._next_mark(last_start + 1, size)
            else:
                start = self._next_mark(start + 1, size)

    def _record_at(self, start: int, size: int) -> tuple[bytes, int] | None:
        """Return key and length of the answer if a whole record begins at ``start``."""
        if start + _HEAD.size > size:
            return None
        mark, length, checksum, key = _HEAD.unpack(self._read_at(start, _HEAD.size))
        if mark != MARK or start + _HEAD.size + length > size:
            return None
        is_whole = _checksum(key, self._read_at(start + _HEAD.size, length)) == checksum
        return (key, length) if is_whole else None

    def _next_mark(self, start: int, size: int) -> int:
        while start < size:
            found = self._read_at(start, _READ_BYTES).find(MARK)
            if found >= 0:
                return start + found
            start += _READ_BYTES - len(MARK) + 1
        return size

    def _read_at(self, start: int, length: int) -> bytes:
        os.lseek(self._file, start, os.SEEK_SET)  # appending goes to the end all the same
        parts = []
        while length > 0 and (part := os.read(self._file, length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def _checksum(key: bytes, answer: bytes) -> int:
    return zlib.crc32(answer, zlib.crc32(key))
