"""An original's own outputs, from a table."""

from __future__ import annotations

import csv
from pathlib import Path

from runtime.csv_cells import csv_rows, plain_text
from runtime.errors import ImageError
from runtime.text import printable


def read_goldens(path: Path, column: str) -> dict[str, float]:
    """The original's own output by image name, from a CSV with the columns ``file`` and more.

    Returns:
        Probabilities, 0..1.

    Raises:
        ImageError: not such a CSV, or it has no such column.
    """
    reader = csv_rows(path, ImageError)
    bad = f"{printable(path)} cannot be read as golden scores"
    try:
        columns = list(reader.fieldnames or ())
        if "file" not in columns:
            raise ImageError(bad, f"its first line names {_shown(columns)}, not 'file'")
        if column not in columns:
            has = _shown([name for name in columns if name != "file"])
            raise ImageError(f"{printable(path)} has no column '{column}'", f"it has {has}")
        found: dict[str, float] = {}
        for row in reader:
            score = _probability(row[column])
            if score is None:
                told = printable(str(row[column])[:40])
                why = f"line {reader.line_num}: {told!r} is no probability"
                todo = "write numbers of 0 to 1: of one output, P of what it says; of two, P(fake)"
                raise ImageError(bad, why, todo)
            found[plain_text(row["file"] or "")] = score
    except csv.Error as error:
        raise ImageError(bad, printable(str(error))) from None
    return found


def _probability(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _shown(columns: list[str]) -> str:
    return printable(", ".join(columns[:12]))[:300] or "nothing"
