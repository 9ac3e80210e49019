"""Labelled images in a folder, in a tar file or named by a CSV."""

from __future__ import annotations

import csv
import os
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmarks.evaluation.labels import HOW_TO_NAME, DatasetError, class_folder, is_fake
from export.samples import IMAGE_SUFFIXES
from runtime.errors import ImageError

#: Larger files in a tar are left out: dozens of them are in memory at a time.
MAX_BYTES = 32_000_000


@dataclass(frozen=True)
class LabelledImage:
    """One image of a dataset.

    Attributes:
        name: its path inside the dataset, with slashes; unique.
        fake: its label.
        class_folder: the folder that names the class, where one does.
    """

    name: str
    fake: bool
    class_folder: str = ""


@dataclass(frozen=True)
class Dataset:
    """Labelled images, and where their bytes are.

    Attributes:
        name: for people.
        images: at least one.
        tar: the archive they are in, ``None`` for files.
        folders: for files: the folder that each name starts from, by the name's first
            part; the key ``""`` is for all others.
    """

    name: str
    images: tuple[LabelledImage, ...]
    tar: Path | None
    folders: dict[str, Path]

    def read(
        self, names: Collection[str] | None = None
    ) -> Iterator[tuple[LabelledImage, bytes | Path | ImageError]]:
        """Every image with its bytes (in a tar) or its path, one at a time.

        A file in a tar that is too large to be held in memory comes as the error.

        Args:
            names: only these.

        Raises:
            DatasetError: the tar is damaged.
        """
        wanted = {i.name: i for i in self.images if names is None or i.name in names}
        if self.tar is None:
            for image in wanted.values():
                yield image, self._path(image.name)
            return
        with _open_tar(self.tar) as archive:
            for member in _members(archive, self.tar):
                # A name may come twice in a tar; the labels were read off the first.
                found = wanted.pop(member.name, None)
                if found is not None:
                    yield found, _bytes(archive, member, self.tar)

    def _path(self, name: str) -> Path:
        first, _, rest = name.partition("/")
        if first in self.folders:
            return self.folders[first] / rest
        return self.folders[""] / name


def open_dataset(path: Path, table: Path | None = None) -> Dataset:
    """A folder with a folder for each class, or a tar of one.

    Args:
        path: a folder, or a ``.tar`` (compressed or not; nothing is extracted to disk).
        table: CSV with the columns ``file`` (inside `path`) and ``label`` instead of class
            folders.

    Raises:
        DatasetError: nothing there, no images, a damaged tar, or labels that cannot be told.
    """
    if path.is_dir():
        tar, names = None, _names_below(path)
    elif not path.exists():
        raise DatasetError(f"{path} does not exist", "", "give a folder or a .tar")
    else:
        with _open_tar(path) as archive:
            files = [m.name for m in _members(archive, path) if _is_image(m.name)]
        tar, names = path, list(dict.fromkeys(files))
    if not names:
        raise DatasetError(
            f"{path} has no images", f"looked for {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    images = _by_folder(path, names) if table is None else _by_table(table, names, str(path))
    title = path.resolve().name if tar is None else path.name.partition(".tar")[0]
    return Dataset(title, tuple(images), tar, {} if tar else {"": path})


def open_class_folders(fake: Path | None, real: Path | None) -> Dataset:
    """Two folders, whatever they are called: all images of one are fake, of the other real.

    Raises:
        DatasetError: one of them is missing or has no images.
    """
    images: list[LabelledImage] = []
    folders: dict[str, Path] = {}
    for label, folder in (("fake", fake), ("real", real)):
        if folder is None:
            continue
        if not folder.is_dir():
            raise DatasetError(f"--{label}-dir {folder} is not a folder", "", "check the path")
        names = _names_below(folder)
        if not names:
            raise DatasetError(f"--{label}-dir {folder} has no images")
        folders[label] = folder
        images += [LabelledImage(f"{label}/{n}", label == "fake", label) for n in names]
    title = " + ".join(folder.resolve().name for folder in folders.values())
    return Dataset(title, tuple(images), None, folders)


def open_table(table: Path) -> Dataset:
    """A CSV with the columns ``file`` (from the CSV's own folder) and ``label``.

    Raises:
        DatasetError: not such a CSV.
    """
    images = _by_table(table, None, str(table.parent))
    return Dataset(table.stem, tuple(images), None, {"": table.parent})


def _is_image(name: str) -> bool:
    pure = PurePosixPath(name)
    # "._x.jpg" is what a Mac adds beside x.jpg in a tar: not an image.
    return pure.suffix.lower() in IMAGE_SUFFIXES and not pure.name.startswith(".")


def _names_below(folder: Path) -> list[str]:
    names = []
    for place, _, files in os.walk(folder):  # does not follow links to folders: no loops
        inside = Path(place).relative_to(folder)
        names += [(inside / file).as_posix() for file in files if _is_image(file)]
    return sorted(names)


def _by_folder(path: Path, names: list[str]) -> list[LabelledImage]:
    found = [(name, class_folder(name)) for name in names]
    images = [LabelledImage(name, at[1], at[0]) for name, at in found if at is not None]
    unknown = Counter(str(PurePosixPath(name).parent) for name, at in found if at is None)
    if unknown:
        folders = [f"{folder}/ ({count} images)" for folder, count in unknown.most_common(4)]
        folders += ["..."] * (len(unknown) > len(folders))
        raise DatasetError(
            f"{path} has {sum(unknown.values())} images (of {len(names)}) without a class",
            f"no folder of theirs names one: {', '.join(folders)}",
            HOW_TO_NAME,
        )
    return images


def _by_table(table: Path, there: list[str] | None, where: str) -> list[LabelledImage]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV", str(error)) from None
    if not rows or not {"file", "label"} <= set(rows[0]):
        has = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise DatasetError(f"{table} needs the columns file,label", f"it has {has}")
    known = None if there is None else set(there)
    images: dict[str, LabelledImage] = {}
    for line, row in enumerate(rows, 2):
        name, label = row["file"] or "", row["label"] or ""
        fake = is_fake(label)
        if fake is None:
            raise DatasetError(
                f"{table}, line {line}: the label {label!r} is no class",
                "a number would be ambiguous: some sources count fake as 0, others as 1",
                "write fake or real",
            )
        if known is not None and name not in known:
            raise DatasetError(f"{table}, line {line}: {name!r} is not in {where}")
        if name in images:
            raise DatasetError(f"{table}, line {line}: {name!r} is named twice")
        images[name] = LabelledImage(name, fake)
    return list(images.values())


def _open_tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, errorlevel=1)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise _damaged(path, error) from None


def _members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, in its order."""
    try:
        for member in archive:
            if member.isfile():
                yield member
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise _damaged(path, error) from None
    except Exception as error:
        if type(error).__module__ not in ("zlib", "_lzma", "lzma", "_zstd"):
            raise
        raise _damaged(path, error) from None


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes | ImageError:
    if member.size > MAX_BYTES:  # a few kilobytes of a compressed tar can say so
        return ImageError(
            f"{member.name} is too large",
            f"{member.size:,} bytes, more than the {MAX_BYTES:,} that are read out of a tar",
        )
    try:
        stream = archive.extractfile(member)
        return b"" if stream is None else stream.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path} is not a tar that can be read whole",
        str(error) or type(error).__name__,
        "give a folder or a .tar of face crops; fetch it again if it was cut off",
    )
