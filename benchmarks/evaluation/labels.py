"""Which folder names mean "fake" and which mean "real"."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from runtime.errors import ZooError

# As the detectors' own repositories call their classes (Afchar: df, f2f, forged, DeepFake;
# MalayAgr: forged; TorchFakes, CS4487: fake), and FaceForensics++.
FAKE_NAMES = frozenset({"df", "deepfake", "deepfakes", "f2f", "fake", "forged", "manipulated"})
REAL_NAMES = frozenset({"original", "pristine", "real"})

HOW_TO_NAME = (
    f"call the class folders {', '.join(sorted(FAKE_NAMES))} and {', '.join(sorted(REAL_NAMES))}"
    " (in any case), or say --fake-dir DIR --real-dir DIR, or give --csv with columns file,label"
)


class DatasetError(ZooError):
    """Labelled images are missing, or their labels cannot be told."""


def is_fake(name: str) -> bool | None:
    """What a class name means: ``True`` fake, ``False`` real, ``None`` no class.

    Case, spaces, hyphens and underscores make no difference.
    """
    plain = re.sub(r"[\s_-]", "", name).casefold()
    if plain in FAKE_NAMES:
        return True
    return False if plain in REAL_NAMES else None


def class_folder(name: str) -> tuple[str, bool] | None:
    """The folder of a path that names its class, as a path, and whether that is "fake".

    Args:
        name: path of an image inside its dataset, with slashes.

    Returns:
        The deepest such folder, or ``None`` where no folder of the path names a class.

    Raises:
        DatasetError: one folder says "fake" and another "real".
    """
    parents = [parent for parent in PurePosixPath(name).parents if parent.name]
    found = [(str(parent), is_fake(parent.name)) for parent in parents]
    named = [(parent, fake) for parent, fake in found if fake is not None]
    if not named:
        return None
    if len({fake for _, fake in named}) > 1:
        raise DatasetError(
            f"the class of {name} cannot be told",
            f"its folders say both 'fake' and 'real': {named[0][0]}",
            "rename one of them, or say --fake-dir DIR --real-dir DIR",
        )
    return named[0]
