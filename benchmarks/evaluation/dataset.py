"""Labelled images in a folder, in a tar file or named by a CSV."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmarks.evaluation.labels import HOW_TO_NAME, DatasetError, class_folder, is_fake
from export.image_tar import IMAGE_SUFFIXES, image_names, read_images
from export.samples import names_below, path_below
from runtime.csv_cells import csv_rows, plain_text
from runtime.errors import ImageError
from runtime.frames import EncodedImage
from runtime.text import printable

#: Rows of a table of labels.
_MOST_ROWS = 2_000_000


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
    ) -> Iterator[tuple[LabelledImage, EncodedImage | Path | ImageError]]:
        """Every image with its bytes (in a tar) or its path, one at a time.

        A file in a tar that is too large to be held in memory comes as the error, and so
        does a link that leads out of the folder.

        Args:
            names: only these.

        Raises:
            ImageError: the tar is damaged.
        """
        wanted = {i.name: i for i in self.images if names is None or i.name in names}
        if self.tar is not None:
            for name, content in read_images(self.tar, wanted):
                yield wanted[name], content
            return
        for image in wanted.values():
            first, _, rest = image.name.partition("/")
            if first in self.folders:
                yield image, path_below(self.folders[first], rest)
            else:
                yield image, path_below(self.folders[""], image.name)


def open_dataset(path: Path, table: Path | None = None) -> Dataset:
    """A folder with a folder for each class, or a tar of one.

    Args:
        path: a folder, or a ``.tar`` (compressed or not; nothing is extracted to disk).
        table: CSV with the columns ``file`` (inside `path`) and ``label`` instead of class
            folders.

    Raises:
        DatasetError: no images, or labels that cannot be told.
        ImageError: nothing there, or a damaged tar.
    """
    if os.path.isdir(path):  # noqa: PTH112  (takes any name, of 5,000 characters too)
        tar, names = None, names_below(path)
    else:
        tar, names = path, image_names(path)
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
        if not os.path.isdir(folder):  # noqa: PTH112
            raise DatasetError(f"--{label}-dir {folder} is not a folder", "", "check the path")
        names = names_below(folder)
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
    rows = csv_rows(table, DatasetError)
    known = None if there is None else set(there)
    images: dict[str, LabelledImage] = {}
    shown = printable(table)
    try:
        if not {"file", "label"} <= set(rows.fieldnames or ()):
            has = printable(", ".join(rows.fieldnames or ["nothing"]))[:300]
            raise DatasetError(f"{shown} needs the columns file,label", f"it has {has}")
        for row in rows:
            line = f"{shown}, line {rows.line_num}"
            name, label = plain_text(row["file"] or ""), row["label"] or ""
            fake = is_fake(label)
            if fake is None:
                raise DatasetError(
                    f"{line}: the label {printable(label)[:80]!r} is no class",
                    "a number would be ambiguous: some sources count fake as 0, others as 1",
                    "write fake or real",
                )
            if known is not None and name not in known:
                raise DatasetError(f"{line}: {printable(name)[:300]!r} is not in {where}")
            if name in images:
                raise DatasetError(f"{line}: {printable(name)[:300]!r} is named twice")
            if len(images) == _MOST_ROWS:
                raise DatasetError(f"{shown} is too long", f"more than {_MOST_ROWS:,} rows")
            images[name] = LabelledImage(name, fake)
    except csv.Error as error:
        raise DatasetError(f"{shown} cannot be read as a CSV", printable(str(error))) from None
    if not images:
        raise DatasetError(f"{shown} names no image", "", "write rows of file,label")
    return list(images.values())
