"""The README's tables, generated: ``python -m benchmarks.readme_tables``.

A table stands between ``<!-- table:NAME -->`` and ``<!-- /table -->``. What is between them
is replaced; a table whose results were not measured yet is left empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.networks_table import networks_table
from benchmarks.validation_table import validation_table
from runtime.errors import ZooError
from runtime.terminal import tell

_ROOT = Path(__file__).resolve().parents[1]
README = _ROOT / "README.md"
RESULTS = Path(__file__).resolve().parent / "results"

#: By name: the files of ``results/`` that the table is made of, as globs, and the function
#: from their content (by file name) to Markdown. No file at all, no table.
TABLES: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], str]]] = {
    "networks": (("certificates.json", "export_cost.json", "*.cpu.json"), networks_table),
    "validation": (("validation.json",), lambda found: validation_table(found["validation.json"])),
    "evaluation": (
        ("evaluation.json",),
        lambda found: tables.evaluation(found["evaluation.json"]),
    ),
    "video": (("video.json",), lambda found: tables.video(found["video.json"])),
    "speed": (("speed.json",), lambda found: tables.speed(found["speed.json"])),
    "bars": (("bars.json",), lambda found: tables.bars(found["bars.json"])),
    "performance": (("*.cpu.json",), tables.performance),
    "gpu": (("*.gpu.json",), tables.performance),
    "gpu-bars": (("gpu.json",), lambda found: tables.gpu_bars(found["gpu.json"])),
    "runtime": (("runtime.json",), lambda found: tables.runtime(found["runtime.json"])),
    "export-cost": (
        ("export_cost.json",),
        lambda found: tables.export_cost(found["export_cost.json"]),
    ),
}

_BLOCK = re.compile(r"(<!-- table:([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
_OPEN = re.compile(r"<!-- table:")


def fill_tables(text: str, results: Path) -> tuple[str, list[str]]:
    """Put every table into its place.

    Args:
        text: Markdown with markers.
        results: folder of measured results.

    Returns:
        The text, and the names of tables whose results are not there.

    Raises:
        ZooError: a marker names no table, or is not closed; or a result file is damaged.
    """
    empty: list[str] = []

    def fill(block: re.Match[str]) -> str:
        head, name, _, tail = block.groups()
        table = make_table(name, results)
        if table is None:
            empty.append(name)
            return f"{head}{tail}"
        return f"{head}{table.strip()}\n{tail}"

    if len(_OPEN.findall(text)) != len(_BLOCK.findall(text)):
        raise ZooError(
            "a table's markers do not fit together",
            "each <!-- table:NAME --> stands on a line of its own and needs <!-- /table -->",
            "put the markers right",
        )
    return _BLOCK.sub(fill, text), empty


def make_table(name: str, results: Path) -> str | None:
    """One table as Markdown, ``None`` where its results are not there.

    Raises:
        ZooError: there is no such table, or a file is damaged.
    """
    if name not in TABLES:
        raise ZooError(f"there is no table '{name}'", f"the tables are {', '.join(TABLES)}")
    patterns, make = TABLES[name]
    found: dict[str, Any] = {}
    for path in sorted(path for pattern in patterns for path in results.glob(pattern)):
        try:
            found[path.name] = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ZooError(f"{path} is damaged", f"not JSON: {error}", "measure it again") from None
    if not found:
        return None
    try:
        return make(found)
    except (KeyError, TypeError, IndexError) as error:
        raise ZooError(
            f"the results of table '{name}' are of another version",
            f"{type(error).__name__}: {error}",
            "measure them again",
        ) from error


def main() -> None:
    """Rewrite the README's tables."""
    before = README.read_text("utf-8")
    text, empty = fill_tables(before, RESULTS)
    if text != before:
        README.write_text(text, "utf-8")
    for name in empty:
        tell(f"{name}: not measured yet, left empty", error=True)


if __name__ == "__main__":
    main()
