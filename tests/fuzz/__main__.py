"""The command line: ``python -m tests.fuzz [READER ...]``, see `tests.fuzz`."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from .readers import READERS
from .runner import Finding, Row, run

_HEAD = ("reader", "inputs", "refused", "accepted", "slowest", "most MB", "findings")


def main() -> int:
    """Run, print a table and the findings; 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", help="by default all", metavar="READER")
    parser.add_argument("--count", type=int, default=2000, help="inputs a reader")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    parser.add_argument("--jobs", type=int, default=2, help="readers at once")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="for their inputs")
    parser.add_argument("--file", type=Path, help="read this file instead")
    chosen = parser.parse_args()
    unknown = set(chosen.readers) - set(READERS)
    if unknown:
        parser.error(f"no reader {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
    names = chosen.readers or list(READERS)
    count = 1 if chosen.file else chosen.count
    print(_line(_HEAD))
    rows = run(
        [(name, chosen.seed, count) for name in names],
        workers=min(chosen.jobs, len(names)),
        keep=chosen.keep,
        tell=_tell,
        file=chosen.file,
    )
    findings = [finding for row in rows for finding in row.findings]
    _explain(findings, whole=count == 1)
    return 1 if findings else 0


def _line(cells: tuple[object, ...]) -> str:
    return "".join(f"{cell:<14}" if i == 0 else f"{cell:>10}" for i, cell in enumerate(cells))


def _tell(row: Row) -> None:
    cells = (row.reader, row.inputs, row.refused, row.accepted, f"{row.slowest:.2f} s",
             row.most >> 20, len(row.findings))  # fmt: skip
    print(_line(cells), flush=True)


def _explain(findings: list[Finding], *, whole: bool) -> None:
    """Each finding once, with the numbers of the inputs that show it."""
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.reader, finding.what].append(finding)
    for (reader, what), same in kinds.items():
        shown = ", ".join(f"{f.number} ({f.seed})" for f in same[:4])
        more = f" and {len(same) - 4} more" if len(same) > 4 else ""
        print(f"\n{reader}: {what}\n  inputs {shown}{more}\n  kept: {same[0].file}")
        words = same[0].words.strip()
        print(
            words[:3000]
            if whole
            else f"  {ascii(words.splitlines()[-1] if words else '')[1:-1][:300]}"
        )


if __name__ == "__main__":
    sys.exit(main())
