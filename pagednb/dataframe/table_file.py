"""Tables in files: CSV, TSV, Parquet and JSON Lines, told apart by the ending of their name.

A table comes back as it was: cells of text files stay text ("007" and "NA" are no number and no gap), only an empty one
is missing; Parquet columns keep their Arrow types. Files are written whole or not at all.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from pagednb.dataframe.kept.atomic_files import written_atomically
from pagednb.errors import TableFileError, nearest_name


class _Format(NamedTuple):
    read: Callable[[pathlib.Path], pd.DataFrame]
    write: Callable[[pd.DataFrame, pathlib.Path], None]


def check_table_path(path: pathlib.Path) -> None:
    """Raise TableFileError for a name whose ending is none of ours, or Parquet without pyarrow; looks at no file."""
    _format_of(path)


def read_table(path: pathlib.Path) -> pd.DataFrame:
    """Return the table in a file, its rows numbered from 0.

    Raises:
        TableFileError: there is no such file, or it does not hold what its name says; the line is named.
    """
    table_format = _format_of(path)
    if not path.is_file():
        raise TableFileError(f"There is no file {str(path)!r}.", hint="Check the path.")
    try:
        frame = table_format.read(path)
    except TableFileError:
        raise
    except UnicodeDecodeError as error:
        raise TableFileError(f"{str(path)!r} is not UTF-8: {error}.", hint="Save it as UTF-8.") from error
    except (OSError, ValueError) as error:  # pandas' and Arrow's own are ValueErrors
        raise TableFileError(f"{str(path)!r} cannot be read: {_first_line(error)}") from error
    if not len(frame.columns):
        raise TableFileError(f"{str(path)!r} has no columns.")
    return frame


def write_table(frame: pd.DataFrame, path: pathlib.Path) -> None:
    """Write a table, in the place of a file that is there. Raises TableFileError; what was there stays then."""
    table_format = _format_of(path)
    plain = frame.copy()
    plain.attrs = {}  # Parquet would keep what the run was told
    try:
        with written_atomically(path) as temporary:
            table_format.write(plain, temporary)
    except (OSError, ValueError, TypeError) as error:
        raise TableFileError(f"{str(path)!r} cannot be written: {_first_line(error)}") from error


def _format_of(path: pathlib.Path) -> _Format:
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        nearest = nearest_name(suffix, _FORMATS)
        hint = f"Did you mean {nearest}?" if nearest else f"Known: {', '.join(_FORMATS)}."
        raise TableFileError(f"What {str(path)!r} holds cannot be told from its name.", hint=hint)
    if _FORMATS[suffix].read is _read_parquet and importlib.util.find_spec("pyarrow") is None:
        raise TableFileError("Parquet files need pyarrow.", hint='Install it: pip install "pagednb[checkpoint]".')
    return _FORMATS[suffix]


def _read_separated(path: pathlib.Path, separator: str) -> pd.DataFrame:
    options: dict[str, Any] = {"sep": separator, "dtype": "object", "encoding": "utf-8-sig", "keep_default_na": False}
    try:
        names = pd.read_csv(path, header=None, nrows=1, **options).iloc[0].tolist()
        _refuse_repeated(path, names)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with too many cells
            # without index_col=False a row with one cell too many would name the rows
            return pd.read_csv(path, na_values=[""], index_col=False, **options)
    except pd.errors.EmptyDataError:
        raise TableFileError(f"{str(path)!r} is empty.", hint="Its first line must name the columns.") from None
    except pd.errors.ParserWarning:
        raise TableFileError(
            f"{str(path)!r} has rows with more cells than columns.", hint="Put quotes around cells with separators."
        ) from None


def _refuse_repeated(path: pathlib.Path, names: list[str]) -> None:
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise TableFileError(f"{str(path)!r} has several columns {repeated[0]!r}.", hint="Rename one of them.")


def _write_separated(frame: pd.DataFrame, path: pathlib.Path, separator: str) -> None:
    frame.to_csv(path, sep=separator, index=False, encoding="utf-8", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)


def _read_parquet(path: pathlib.Path) -> pd.DataFrame:
    frame: pd.DataFrame = pd.read_parquet(path, engine="pyarrow", dtype_backend="pyarrow")
    return frame.reset_index(drop=True)


def _write_parquet(frame: pd.DataFrame, path: pathlib.Path) -> None:
    frame.to_parquet(path, engine="pyarrow", index=False)


def _read_json_lines(path: pathlib.Path) -> pd.DataFrame:
    rows = list(_objects(path))
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


def _objects(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise TableFileError(f"Line {number} of {str(path)!r} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise TableFileError(f"Line {number} of {str(path)!r} is not a JSON object.")
            yield row


def _write_json_lines(frame: pd.DataFrame, path: pathlib.Path) -> None:
    columns = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for cells in zip(*columns, strict=True):
            row = dict(zip(map(str, frame.columns), cells, strict=True))
            file.write(json.dumps(row, ensure_ascii=False, default=_as_json) + "\n")


def _as_json(value: Any) -> Any:
    """Return what JSON has no word for: NumPy's and Arrow's lists as lists, times and the like as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rpartition("C error: ")[2]  # pandas' parser's
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _separated(separator: str) -> _Format:
    return _Format(
        lambda path: _read_separated(path, separator), lambda frame, path: _write_separated(frame, path, separator)
    )


_PARQUET = _Format(_read_parquet, _write_parquet)
_JSON_LINES = _Format(_read_json_lines, _write_json_lines)
_FORMATS: Mapping[str, _Format] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _PARQUET,
    ".jsonl": _JSON_LINES,
    ".ndjson": _JSON_LINES,
}
