"""What a certificate is measured on: folders, tars, single images, goldens."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
from PIL import Image

from export import samples
from export.goldens import read_goldens
from export.samples import default_samples, find_golden_images, read_samples
from runtime.engine_info import Preprocessing
from runtime.errors import ImageError

HOW = Preprocessing(8, 8, "nearest")


@pytest.fixture
def folder(tmp_path):
    """Three images of one colour each, in two sub-folders, and a file that is none."""
    root = tmp_path / "faces"
    for number, name in enumerate(["b/two.png", "a/one.jpg", "b/three.PNG"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "JPEG" if name.endswith("jpg") else "PNG"
        Image.new("RGB", (8, 8), (number * 40,) * 3).save(root / name, kind)
    (root / "notes.txt").write_text("no image")
    return root


def colours(found: samples.Samples) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in found.frames]


def test_a_folder_is_read_in_order_of_names(folder):
    found = read_samples(folder, HOW)
    assert found.names == ("a/one.jpg", "b/three.PNG", "b/two.png")
    assert colours(found) == [40, 80, 0]
    assert found.frames.dtype == np.uint8


def test_a_tar_gives_the_same_as_the_folder(folder, tmp_path):
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder, ".")
    found = read_samples(path, HOW)
    assert colours(found) == [40, 80, 0]
    assert [n.removeprefix("./") for n in found.names] == list(read_samples(folder, HOW).names)


def test_one_image_and_a_limit(folder):
    assert read_samples(folder / "a/one.jpg", HOW).names == ("one.jpg",)
    (folder / "a/one.jpg").rename(folder / "face")
    assert colours(read_samples(folder / "face", HOW)) == [40]
    (folder / "face").rename(folder / "a/one.jpg")
    assert read_samples(folder, HOW, limit=2).names == ("a/one.jpg", "b/two.png")


def test_many_frames_go_to_a_file_and_are_the_same(folder, monkeypatch):
    due = read_samples(folder, HOW).frames.copy()
    monkeypatch.setattr(samples, "_MOST_IN_MEMORY", 10)
    found = read_samples(folder, HOW).frames
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, due)


def test_what_is_missing_empty_or_damaged_is_named(folder, tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_samples(tmp_path / "nowhere", HOW)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="has no images"):
        read_samples(tmp_path / "empty", HOW)
    (folder / "a/one.jpg").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"one\.jpg"):
        read_samples(folder, HOW)
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder, ".")
    with pytest.raises(ImageError, match=r"one\.jpg"):
        read_samples(path, HOW)


def test_goldens(tmp_path):
    path = tmp_path / "goldens.csv"
    path.write_text("file,A,B\nx.jpg,0.25,1\ny.jpg,0.5,0\n")
    assert read_goldens(path, "A") == {"x.jpg": 0.25, "y.jpg": 0.5}
    with pytest.raises(ImageError, match="no column 'C'") as caught:
        read_goldens(path, "C")
    assert "A, B" in caught.value.why
    path.write_text("nonsense")
    with pytest.raises(ImageError):
        read_goldens(path, "A")


def test_the_default_samples_are_the_same_everywhere_but_for_the_faces():
    found = default_samples(HOW)
    seeded = [i for i, name in enumerate(found.names) if name.startswith("seed:")]
    assert len(seeded) == samples.SEEDED_COUNT
    assert len(found.names) == len(seeded) + len(find_golden_images())
    assert len({frame.tobytes() for frame in found.frames}) == len(found.names)


def test_only_the_very_files_count_as_golden(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "df00204.jpg")
    monkeypatch.setattr(samples, "_GOLDEN_PLACES", (tmp_path,))
    assert find_golden_images() == []


@pytest.mark.weights
def test_the_golden_images_are_found(afchar_images):
    assert sorted(p.name for p in find_golden_images()) == [p.name for p in afchar_images]
