"""Read Keras' HDF5 files, and the zip archives that hold one, from untrusted bytes.

HDF5 can refer to other files: a link, or a dataset whose numbers lie elsewhere, would carry
any file of this machine into an engine. It can also state sizes that it does not have, and
damaged ones make the library hang. So everything here runs in a child with limits (see
`runtime.confined`), which could open no other file, and what a dataset states is checked
before it is read.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from runtime.confined import ConfinedError, read_confined
from runtime.errors import MissingPackageError, WeightsError
from runtime.files import Snapshot
from runtime.text import printable

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
#: Members of a ``.keras`` archive.
CONFIG_MEMBER, WEIGHTS_MEMBER = "config.json", "model.weights.h5"

#: Wall clock for small files, and bytes a second beyond: a busy machine's pace.
_SECONDS, _PACE = 8.0, 10 << 20
#: Of a core's own time: what hangs is ended sooner than what waits for its turn.
_CPU_SECONDS, _CPU_PACE = 2, 50 << 20
#: Beyond three times what a file has: its bytes, its arrays, and room to copy one.
_SPARE_MEMORY = 512 << 20
#: Real weights shrink by a tenth, pruned ones to a tenth.
_MOST_SHRUNK = 20
_MOST_OBJECTS, _MOST_DEPTH = 100_000, 32
_MOST_TEXT = 32 << 20
_MOST_MEMBERS = 1000
#: Deflate, shuffle and Fletcher's checksum, which are built into every HDF5.
_FILTERS = {1, 2, 3}
#: The optimiser's moments, which have the shapes of weights.
_NOT_WEIGHTS = {"optimizer_weights", "optimizer"}
_GROUP_TEXTS = {"layer_names", "weight_names", "keras_version", "backend"}
_ROOT_TEXTS = {*_GROUP_TEXTS, "model_config", "training_config"}
_AGAIN = "fetch or copy it again"


@dataclass(frozen=True)
class Hdf5Content:
    """What is in a file.

    Attributes:
        groups: the texts among each group's attributes that Keras' layouts need, by the
            group's path without a leading slash; the root's is empty.
        shapes: of the datasets, by path.
        arrays: the datasets themselves, where they were asked for.
        config: JSON of the network beside the weights, where there is one.
        archive: whether it was a ``.keras`` archive.
    """

    groups: dict[str, dict[str, str | list[str]]]
    shapes: dict[str, tuple[int, ...]]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    config: str | list[str] | None = None
    archive: bool = False


def read_hdf5(source: Snapshot, *, arrays: bool = True) -> Hdf5Content:
    """What is in an HDF5 file or a ``.keras`` archive.

    Args:
        source: the bytes.
        arrays: whether the numbers are wanted, too.

    Raises:
        WeightsError: it is damaged, truncated, encrypted, refers to other files, states
            sizes that it does not have, or takes too long.
        MissingPackageError: h5py is not installed.
    """
    memory = 3 * source.size + _SPARE_MEMORY
    seconds = _SECONDS + source.size / _PACE
    try:
        value, found = read_confined(
            "weights.hdf5:read", source, seconds=seconds, memory=memory, arrays=arrays
        )
    except ConfinedError as error:
        raise _damaged(str(error)) from None
    except WeightsError as error:
        raise WeightsError(f"{printable(source.path)} {error.what}", *error.args[1:]) from None
    if value.get("missing"):
        raise MissingPackageError("h5py", "reading Keras weights", "keras")
    return Hdf5Content(
        value["groups"],
        {path: tuple(shape) for path, shape in value["shapes"].items()},
        found,
        value["config"],
        value["archive"],
    )


def read(file: IO[bytes], *, arrays: bool) -> tuple[Any, dict[str, NDArray[Any]]]:
    """A `runtime.confined.Reader`: what `read_hdf5` is made of."""
    try:
        import h5py
    except ImportError:
        return {"missing": True}, {}
    with _limits(file.seek(0, io.SEEK_END)):
        return _read(h5py, file, arrays)


def _read(h5py: Any, file: IO[bytes], arrays: bool) -> tuple[Any, dict[str, NDArray[Any]]]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    config = None
    archive = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    if archive:
        config, file = _unpack(file, size)
        size = file.seek(0, io.SEEK_END)
    try:
        opened = h5py.File(file, "r")
    except Exception as error:
        raise _damaged(_how_damaged(error)) from None
    with opened:
        walk = _Walk(h5py, size, arrays)
        try:
            walk.group(opened, "", 0)
        except (WeightsError, MemoryError):
            raise
        except Exception as error:  # what damage makes HDF5 say is of no use to anybody
            raise _damaged(_how_damaged(error)) from None
    own = walk.groups[""].pop("model_config", None)
    value = {
        "groups": walk.groups,
        "shapes": walk.shapes,
        "config": own if config is None else config,
        "archive": archive,
    }
    return value, walk.arrays


def _how_damaged(error: Exception) -> str:
    return "it is truncated" if "truncated" in str(error) else "it is damaged"


class _Walk:
    """Every group and dataset of a file, each once."""

    def __init__(self, h5py: Any, size: int, arrays: bool) -> None:
        self._h5py = h5py
        self._left = size
        self._size = size
        self._wanted = arrays
        self._seen: set[tuple[int, int]] = set()
        self.groups: dict[str, dict[str, str | list[str]]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.arrays: dict[str, NDArray[Any]] = {}

    def group(self, group: Any, path: str, depth: int) -> None:
        self._once(group, path)
        if depth > _MOST_DEPTH:
            raise WeightsError("is nested too deeply", f"'{printable(path)}'", _AGAIN)
        self.groups[path] = self._texts(group, path)
        for name in group:
            own = f"{path}/{name}" if path else name
            if own in _NOT_WEIGHTS:
                continue
            link = group.get(name, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                raise _elsewhere(own, f"is a link to '{printable(link.path)}'", link)
            item = group[name]
            if isinstance(item, self._h5py.Group):
                self.group(item, own, depth + 1)
            elif isinstance(item, self._h5py.Dataset):
                self._once(item, own)
                self._dataset(item, own)

    def _once(self, item: Any, path: str) -> None:
        """Groups that hold each other would be walked for ever."""
        info = self._h5py.h5o.get_info(item.id)
        if (info.fileno, info.addr) in self._seen:
            raise WeightsError("is damaged", f"'{printable(path)}' is there twice", _AGAIN)
        self._seen.add((info.fileno, info.addr))
        if len(self._seen) > _MOST_OBJECTS:
            raise WeightsError("is damaged", f"it has more than {_MOST_OBJECTS:,} parts", _AGAIN)

    def _dataset(self, dataset: Any, path: str) -> None:
        plist = dataset.id.get_create_plist()
        if plist.get_external_count() or dataset.is_virtual:
            raise _elsewhere(path, "has its numbers in another file", None)
        if dataset.shape is None:
            raise WeightsError("is damaged", f"'{printable(path)}' holds nothing", _AGAIN)
        self.shapes[path] = tuple(map(int, dataset.shape))
        if self._wanted:
            self._check(dataset, plist, path)
            self.arrays[path] = np.asarray(dataset[()])

    def _check(self, dataset: Any, plist: Any, path: str) -> None:
        """What a dataset states of itself, before memory is taken for it."""
        name, dtype = printable(path), dataset.dtype
        if dtype.kind not in "fiub":
            raise WeightsError(
                "has weights of another kind",
                f"'{name}' is {dtype}, due is float32",
                "save it with weights in float32",
            )
        filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
        if not _FILTERS.issuperset(filters):
            raise WeightsError(
                "is compressed in an unknown way",
                f"'{name}' needs filter {filters}; gzip and shuffle are known",
                "save it again, uncompressed",
            )
        count = int(np.prod(dataset.shape, dtype=object)) * dtype.itemsize
        there = dataset.id.get_storage_size() * (_MOST_SHRUNK if filters else 1)
        self._left -= -(-count // _MOST_SHRUNK) if filters else count
        if count > there or self._left < 0:
            raise WeightsError(
                "states more than it has",
                f"'{name}' is to have {count:,} bytes; the file has {self._size:,}",
                _AGAIN,
            )

    def _texts(self, group: Any, path: str) -> dict[str, str | list[str]]:
        found: dict[str, str | list[str]] = {}
        wanted = _ROOT_TEXTS if path == "" else _GROUP_TEXTS
        for name in group.attrs:
            stem = name.rstrip("0123456789")  # lists too long for one are cut into pieces
            if stem not in wanted:
                continue
            id_ = group.attrs.get_id(name)
            if id_.shape == (0,):  # written as numbers
                found[name] = []
                continue
            if id_.dtype.kind not in "SO" or len(id_.shape) > 1 or sum(id_.shape) > _MOST_OBJECTS:
                raise _odd_attribute(path, name, f"{id_.dtype} {id_.shape}")
            value = group.attrs[name]
            texts = [_text(v, path, name) for v in ([value] if id_.shape == () else value)]
            found[name] = texts[0] if id_.shape == () else texts
        return found


def _text(value: Any, path: str, name: str) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise _odd_attribute(path, name, type(value).__name__)
    return value


def _odd_attribute(path: str, name: str, what: str) -> WeightsError:
    place = f"'{printable(name)}' of '{printable(path) or '/'}'"
    return WeightsError("is damaged", f"{place} is {what}; text is due", _AGAIN)


def _elsewhere(path: str, how: str, link: Any) -> WeightsError:
    other = getattr(link, "filename", None)
    where = f" in {printable(other)}" if other else ""
    return WeightsError(
        "refers to something outside its own arrays",
        f"'{printable(path)}' {how}{where}; nothing of it was read",
        "do not trust this file; ask its author for one with the numbers inside",
    )


def _damaged(why: str) -> WeightsError:
    return WeightsError("is damaged", why, _AGAIN)


def _unpack(file: IO[bytes], size: int) -> tuple[str | None, IO[bytes]]:
    """The network's JSON and the HDF5 file in a ``.keras`` archive."""
    try:
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
    except Exception:
        raise _damaged("it is truncated or damaged") from None
    names = [member.filename for member in members]
    if WEIGHTS_MEMBER not in names:
        shown = ", ".join(map(printable, names[:3]))
        raise WeightsError(
            "is no .keras archive", f"no {WEIGHTS_MEMBER} among {shown or 'no files'}", ""
        )
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise _damaged(f"its {len(names)} members are too many, or two have one name")
    config = None
    if CONFIG_MEMBER in names:
        content = _member(archive, CONFIG_MEMBER, min(size, _MOST_TEXT))
        config = content.decode("utf-8", "surrogateescape")
    return config, io.BytesIO(_member(archive, WEIGHTS_MEMBER, size))


def _member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    info = archive.getinfo(name)
    if info.flag_bits & 1:
        raise WeightsError("is encrypted", f"{name} needs a password", "give it unencrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise WeightsError(
            "is compressed in an unknown way",
            f"{name} has zip's method {info.compress_type}",
            "save it again with Keras",
        )
    if info.file_size > _MOST_SHRUNK * size:
        raise WeightsError(
            "states more than it has",
            f"{name} is to have {info.file_size:,} bytes; the archive has {size:,}",
            _AGAIN,
        )
    try:
        return archive.read(name)  # never more than it states
    except Exception as error:
        raise _damaged(f"{name} cannot be unpacked ({type(error).__name__})") from None


@contextlib.contextmanager
def _limits(size: int) -> Iterator[None]:
    """Meanwhile nothing that HDF5 refers to could be opened, and a loop without end ends."""
    import resource

    codecs.lookup("cp437")  # zipfile's, which Python would look for on disk
    files, hard_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    cpu, hard_cpu = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(time.process_time()) + 1 + _CPU_SECONDS + size // _CPU_PACE
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard_files))
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard_cpu))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard_files))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, hard_cpu))
