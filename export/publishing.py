"""Put the engines of an export in place of those of an earlier one, as one switch.

Several files cannot be renamed in one step, and an engine whose sidecar speaks of other bytes
does not open. So the sidecar changes first, to one that speaks of both exports; then the
engines are renamed, one by one; then the sidecar speaks of the new ones alone. At every
moment each engine in place is named in the sidecar beside it and opens as what it is, also
where a kill makes that moment last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.staging import move, publishing
from runtime.engine_file import check_artefact, read_sidecar
from runtime.engine_info import EngineInfo, sidecar_path
from runtime.errors import ZooError
from runtime.files import snapshot


def publish_engines(folder: Path, out: Path, names: Sequence[str], info: EngineInfo) -> None:
    """Publish engines and their sidecar.

    Args:
        folder: from `export.staging.staging`, with the engines.
        out: where they go.
        names: of the engines, then of the sidecar.
        info: what the sidecar is to say.
    """
    *engines, sidecar = names
    with publishing(out):
        previous = [old for old in _read_previous(out / engines[0]) if _is_in_place(out, old)]
        _write(folder, out, sidecar, info.to_json(previous))
        for name in engines:
            move(folder / name, out / name)
        if previous:
            _write(folder, out, sidecar, info.to_json())


def _write(folder: Path, out: Path, sidecar: str, text: str) -> None:
    (folder / sidecar).write_text(text, "utf-8")
    move(folder / sidecar, out / sidecar)


def _read_previous(engine: Path) -> list[EngineInfo]:
    try:
        return read_sidecar(engine)
    except ZooError:  # it opens nothing that could be kept open
        return []


def _is_in_place(out: Path, info: EngineInfo) -> bool:
    """Whether a file of an earlier export is still there."""
    for name in info.artefacts:
        if sidecar_path(out / name).parent != out:
            continue  # a name that leads elsewhere is none of an export's
        try:
            with snapshot(out / name) as content:
                check_artefact(content, info)
        except ZooError:
            continue
        return True
    return False
