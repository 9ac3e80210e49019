"""Tables of text: rows that others wrote, and cells that a spreadsheet would take for formulas."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from runtime.errors import ZooError
from runtime.files import read_text

#: A cell that begins so is worked out by a spreadsheet, which may run a program for it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_rows(path: Path, error: type[ZooError]) -> csv.DictReader[str]:
    """The rows of a CSV file that somebody else made, which has to be UTF-8 text.

    Raises:
        ZooError: of the kind ``error``, see `runtime.files.read_text`.
    """
    # Not splitlines: a file name may hold what only Python takes for the end of a line.
    return csv.DictReader(io.StringIO(read_text(path, error=error), newline=""))


def csv_cell(text: str) -> str:
    """A text for a cell: a formula gets an apostrophe in front, so that it stays a text."""
    return f"'{text}" if _like_formula(text) else text


def plain_text(cell: str) -> str:
    """The text of a cell that `csv_cell` made; any other that begins as no formula is itself."""
    return cell[1:] if cell.startswith("'") and _like_formula(cell) else cell


def _like_formula(text: str) -> bool:
    # One more apostrophe where there are some tells the two apart again.
    return text.lstrip("'").startswith(_FORMULA)
