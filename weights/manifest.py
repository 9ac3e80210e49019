"""The manifest: hash, size, licence and source of every file the zoo can fetch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urldefrag

from runtime.errors import WeightsError
from runtime.files import read_text
from runtime.text import printable
from runtime.typed_json import decode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: By which a file is pinned, as `hashlib` and pooch call them.
HashKind = Literal["sha256", "md5"]

MANIFEST = Path(__file__).with_name("manifest.toml")


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes:
        name: its file name.
        url: where its authors publish it; of a file inside a zip archive, that archive's
            URL, ``#``, and the path inside.
        bytes: its size.
        licence: SPDX identifier, or ``none stated``.
        source: repository and revision.
        sha256: of its bytes, 64 hexadecimal digits.
        md5: of its bytes, 32 hexadecimal digits, where its authors publish no better one.
            Exactly one of the two is given.
        needs: what reads it; ``None`` where that is not known.
        use: ``network`` (weights that a network can do without, with random ones) or
            ``faces`` (a face detector).
        archive_bytes: size of the archive, where it is inside one.
    """

    name: str
    url: str
    bytes: int
    licence: str
    source: str
    sha256: str | None = None
    md5: str | None = None
    needs: Literal["keras", "torch", "onnx"] | None = None
    use: Literal["network", "faces"] = "network"
    archive_bytes: int | None = None

    def __post_init__(self) -> None:
        if (self.sha256 is None) == (self.md5 is None):
            raise ValueError(f"{self.name} of the manifest needs one of sha256 and md5")
        if PurePosixPath(self.name).name != self.name:
            raise ValueError(f"{self.name} of the manifest is no file name")
        if min(self.bytes, self.transfer_bytes) < 1:
            raise ValueError(f"{self.name} of the manifest is empty")

    @property
    def hash_kind(self) -> HashKind:
        """Which hash the file is pinned by."""
        return "sha256" if self.md5 is None else "md5"

    @property
    def hash(self) -> str:
        """The digits of that hash."""
        digits = self.sha256 or self.md5
        assert digits is not None, "one of them is given"
        return digits

    @property
    def transfer_bytes(self) -> int:
        """How much a download of ``url`` brings."""
        return self.bytes if self.archive_bytes is None else self.archive_bytes

    @property
    def member(self) -> str | None:
        """Its path inside the archive, ``None`` where the URL is that of the file itself."""
        return urldefrag(self.url).fragment or None


@cache
def entries() -> dict[str, Entry]:
    """Every file of the manifest by name.

    Raises:
        WeightsError: the manifest is damaged.
    """
    try:
        table = tomllib.loads(read_text(MANIFEST, error=WeightsError))
        return {name: _entry(name, fields) for name, fields in table.items()}
    except (TypeError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{MANIFEST} is damaged", printable(str(error)), "install deepfake-zoo again"
        ) from None


def _entry(name: str, fields: Any) -> Entry:
    if not isinstance(fields, Mapping):
        raise TypeError(f"{name} must be a table, not {type(fields).__name__}")
    return decode(Entry, {**fields, "name": name}, f"{name}.")


def entry(name: str) -> Entry:
    """One file of the manifest.

    Raises:
        WeightsError: there is none of that name.
    """
    try:
        return entries()[name]
    except KeyError:
        raise WeightsError(
            f"the manifest has no file '{name}'",
            f"it has {', '.join(entries())}",
            "zoo weights list",
        ) from None
