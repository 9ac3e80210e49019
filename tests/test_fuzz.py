"""A short run of every fuzzer, and fuzzers that are seen to find. The long run: `make fuzz`."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from fuzz import mutators
from fuzz.readers import READERS
from fuzz.runner import Limits, Row, run
from fuzz.worker import input_of

FAULTS = {
    "hangs": "hang:",
    "hangs-beyond-python": "hang:",
    "swells": "memory:",
    "swells-for-a-moment": "memory:",
    "swells-in-a-child": "memory:",
    "raises": "traceback: KeyError",
    "raises-in-a-thread": "traceback: in a thread: KeyError",
    "crashes": "crash: SIGABRT",
    "ends": "crash: exit code 0",
    "runs-code": "code ran:",
    "runs-ghostscript": "code ran:",
    "leaks": "leak:",
    "leaves-files": "left behind:",
    "obeys-the-terminal": "unprintable:",
    "advises-harm": "unsafe advice: weights_only",
    "says-nothing": "no words:",
    "says-too-much": "long words:",
    "refuses-all": "seed refused:",
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """One input of every reader of `fuzz.broken`, by name."""
    jobs = [(name, 0, 1) for name in FAULTS]
    keep = tmp_path_factory.mktemp("kept")
    limits = Limits(seconds=1, memory=100 << 20)
    rows = run(jobs, module="broken", limits=limits, keep=keep, workers=3)
    return {row.reader: row for row in rows}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_its_input_kept(faults: dict[str, Row], name: str) -> None:
    (finding,) = faults[name].findings
    assert finding.what.startswith(FAULTS[name]), finding
    assert finding.file is not None
    assert finding.file.read_bytes() == b"good"


def test_a_sound_reader_has_no_findings() -> None:
    (row,) = run([("sound", 0, 40)], module="broken", workers=1)
    assert row.findings == []
    assert (row.accepted > 0, row.refused > 10, row.inputs) == (True, True, 40)


def test_files_that_stay_open_are_found() -> None:
    (row,) = run([("keeps-files-open", 0, 30)], module="broken", workers=1)
    assert [finding.what for finding in row.findings] == ["descriptors: files stay open"]


def test_a_number_says_all_of_an_input() -> None:
    for name in ("sidecar", "csv-goldens", "manifest", "resume", "image", "tar-verify"):
        reader = READERS[name]
        first = len(reader.inputs)
        made = [input_of(reader, number).make() for number in range(first, first + 20)]
        assert made == [input_of(reader, number).make() for number in range(first, first + 20)]
        assert len(set(made)) > 15
    odd = repr(mutators._ODD)
    for number in range(300):
        mutators.of_json(b'{"a": 1, "b": [2]}', Random(number))
    assert repr(mutators._ODD) == odd, "or an input hangs on those before it"


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """A few inputs of every reader: the past findings, and the first of the mutated ones."""
    keep = Path(os.environ.get("FUZZ_KEEP") or tmp_path_factory.mktemp("kept"))
    jobs = [(reader.name, 0, reader.few) for reader in READERS.values() if reader.few]
    return {row.reader: row for row in run(jobs, keep=keep)}


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.few])
def test_readers_refuse_what_they_cannot_read(short_run: dict[str, Row], name: str) -> None:
    row = short_run[name]
    assert row.inputs == READERS[name].few > len(READERS[name].inputs)
    assert [(f.number, f.seed, f.what, f.words) for f in row.findings] == []
