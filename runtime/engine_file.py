"""An engine file and its sidecar, read once and held against each other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runtime.engine_info import Artefact, EngineInfo, read_infos, sidecar_path
from runtime.errors import EngineError
from runtime.files import Snapshot, read_text, snapshot
from runtime.text import printable

#: How often an export may replace the files between two looks at them.
_TRIES = 10


@dataclass(frozen=True)
class EngineFile:
    """The bytes of an engine, and what the sidecar beside it says.

    Attributes:
        content: what was hashed, and what the engine is to be opened from.
        info: what the sidecar says of these very bytes; ``None`` where it does not name
            the file, or there is no sidecar.
        sidecar: the sidecar's present export, of which this file need not be.
    """

    content: Snapshot
    info: EngineInfo | None
    sidecar: EngineInfo | None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.content.path


def take_engine(path: Path) -> EngineFile:
    """Read an engine and the sidecar beside it, as they were at one moment.

    Raises:
        EngineError: one of them cannot be read, the sidecar is damaged, or it names the
            file and speaks of other bytes.
    """
    text = _sidecar_text(path)
    for _ in range(_TRIES):
        infos = [] if text is None else read_infos(text, str(sidecar_path(path)))
        content = snapshot(path, error=EngineError)
        info, wrong = _info_of(content, infos)
        if info is not None:
            return EngineFile(content, info, infos[0])
        # An export may have replaced the files since the sidecar was read.
        before, text = text, _sidecar_text(path)
        if text == before:
            if wrong is not None:
                content.close()
                raise wrong
            return EngineFile(content, None, infos[0] if infos else None)
        content.close()
    raise EngineError(
        f"{printable(path)} does not hold still",
        "its sidecar was written anew each time it was looked at",
        "wait for the exports of that name to end",
    )


def read_sidecar(engine: Path) -> list[EngineInfo]:
    """What the sidecar beside an engine says: its export, then earlier ones; see `read_infos`.

    Raises:
        EngineError: it cannot be read or is damaged. None is no error.
    """
    text = _sidecar_text(engine)
    return [] if text is None else read_infos(text, str(sidecar_path(engine)))


def check_artefact(content: Snapshot, info: EngineInfo) -> Artefact:
    """Check that an engine file is the one its sidecar speaks of.

    Raises:
        EngineError: the sidecar does not name the file, or size or sha256 differ.
    """
    path, name = printable(content.path), content.path.name
    artefact = info.artefacts.get(name)
    rebuild = f"zoo export {printable(info.network)} --fp16"
    if artefact is None:
        named = ", ".join(printable(each) for each in info.artefacts)
        raise EngineError(
            f"{path} is not named in {printable(sidecar_path(content.path).name)}",
            f"it names {named or 'no engine'}; was the file renamed?",
            rebuild,
        )
    if content.size != artefact.bytes:
        raise EngineError(
            f"{path} is damaged or of another export",
            f"it has {content.size} bytes, its sidecar says {artefact.bytes}",
            rebuild,
        )
    if content.sha256 != artefact.sha256:
        raise EngineError(
            f"{path} is damaged or of another export",
            f"its sha256 is {content.sha256}, its sidecar says {printable(artefact.sha256)}",
            rebuild,
        )
    return artefact


def _info_of(
    content: Snapshot, infos: list[EngineInfo]
) -> tuple[EngineInfo | None, EngineError | None]:
    """The export that the bytes are of; or why none that names the file speaks of them."""
    wrong: EngineError | None = None
    for info in infos:
        if content.path.name in info.artefacts:
            try:
                check_artefact(content, info)
            except EngineError as error:
                wrong = wrong or error
            else:
                return info, None
    return None, wrong


def _sidecar_text(engine: Path) -> str | None:
    path = sidecar_path(engine)
    # A link to nothing, or what is no file, is an error and not "no sidecar".
    if not os.path.lexists(path):
        return None
    return read_text(path, error=EngineError)
