"""The manifest: every stated fact, against the files themselves where they are here."""

from __future__ import annotations

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import urldefrag

import pytest

from runtime.errors import WeightsError
from weights import manifest

SPDX = {"Apache-2.0", "MIT", "BSD-3-Clause", "none stated"}


@pytest.mark.parametrize("entry", manifest.entries().values(), ids=lambda e: e.name)
def test_every_entry_is_whole(entry):
    assert re.fullmatch(r"https://[\w.-]+/\S+", entry.url)
    assert entry.url.endswith(f"/{entry.name}")
    digits = {"sha256": 64, "md5": 32}[entry.hash_kind]
    assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", entry.hash)
    assert entry.bytes > 0
    assert entry.licence in SPDX
    assert entry.source.startswith("https://")
    assert entry.needs in {"keras", "torch", "onnx"}
    assert entry.use in {"network", "faces"}
    assert entry.name == PurePosixPath(entry.name).name, "it becomes a file in a folder"


def test_the_hash_is_the_one_in_torchvision_s_file_names():
    """torch.hub puts the first eight digits of the sha256 behind the dash."""
    named = [e for e in manifest.entries().values() if "download.pytorch.org" in e.url]
    assert len(named) == 3
    for entry in named:
        assert entry.sha256.startswith(entry.name.rpartition("-")[2].removesuffix(".pth"))


@pytest.mark.parametrize("hashes", [{}, {"sha256": "0" * 64, "md5": "0" * 32}])
def test_an_entry_has_one_hash_and_no_more(hashes):
    with pytest.raises(ValueError, match="needs one of sha256 and md5"):
        manifest.Entry("a.h5", "https://example.org/a.h5", 1, "MIT", "here", **hashes)


def test_an_md5_stands_only_where_keras_publishes_nothing_else():
    """And it is the one in Keras' own source, for the file of that name."""
    (entry,) = [e for e in manifest.entries().values() if e.hash_kind == "md5"]
    keras = find_spec("keras")
    if keras is None:
        pytest.skip("Keras is not installed (extra 'keras')")
    source = Path(keras.origin).parent / "src" / "applications" / "inception_resnet_v2.py"
    # Its strings are broken over lines; what lies between them is dropped.
    text = re.sub(r'"\s+"', "", source.read_text("utf-8"))
    (folder,) = re.findall(r'BASE_WEIGHT_URL = \(\s*"([^"]+)"', text)
    assert entry.url == folder + entry.name
    branch = text.partition(f'"{entry.name}"')[2]
    assert re.search(r'file_hash="(\w+)"', branch)[1] == entry.md5


def test_a_file_inside_an_archive_says_where_and_how_large_the_archive_is():
    inside = [e for e in manifest.entries().values() if e.member is not None]
    assert {e.name for e in inside} == {"pnet.pt", "rnet.pt", "onet.pt"}
    for entry in inside:
        assert urldefrag(entry.url).url.endswith(".whl")
        assert entry.member == f"facenet_pytorch/data/{entry.name}"
        assert entry.transfer_bytes == entry.archive_bytes == 1_881_930
    for entry in manifest.entries().values():
        assert (entry.member is None) == (entry.archive_bytes is None)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(WeightsError, match=r"Meso4_DF\.h5"):
        manifest.entry("Meso4_DF")


GOOD = """
["a.h5"]
url = "https://example.org/a.h5"
bytes = 3
sha256 = "00"
licence = "MIT"
source = "https://example.org"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD[:20], "Unterminated"),
        (GOOD.replace("bytes = 3", ""), "field a.h5.bytes is missing"),
        (GOOD.replace("bytes = 3", 'bytes = "3"'), "a.h5.bytes must be int"),
        (GOOD.replace("bytes = 3", "bytes = 0"), "is empty"),
        (GOOD.replace("MIT", "\\u001b[2J") + "size = 3\n", "unknown field a.h5.size"),
        (GOOD.replace("sha256", "md6"), "unknown field a.h5.md6"),
        (GOOD.replace("a.h5", "../a.h5"), "no file name"),
        (GOOD + 'needs = "everything"\n', "a.h5.needs is 'everything'"),
        ("a = 3\n", "a must be a table"),
        ("\xff", "is not UTF-8"),
        ("a = [" * 5000, ""),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, monkeypatch, text, words):
    path = tmp_path / "manifest.toml"
    path.write_text(text, "latin-1")
    monkeypatch.setattr(manifest, "MANIFEST", path)
    with pytest.raises(WeightsError) as caught:
        manifest.entries.__wrapped__()
    assert str(path) in caught.value.what
    assert words in str(caught.value)
    assert caught.value.todo


def test_the_example_is_no_damaged_one(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "manifest.toml")
    manifest.MANIFEST.write_text(GOOD)
    assert manifest.entries.__wrapped__()["a.h5"].bytes == 3


@pytest.mark.weights
def test_the_manifest_agrees_with_the_files_that_are_here(weights_dir):
    here = {e.name: e for e in manifest.entries().values() if (weights_dir / e.name).exists()}
    assert set(here) == {p.name for p in weights_dir.iterdir() if p.is_file()}, (
        "each is in the manifest"
    )
    for entry in here.values():
        path = weights_dir / entry.name
        assert path.stat().st_size == entry.bytes
        assert hashlib.new(entry.hash_kind, path.read_bytes()).hexdigest() == entry.hash


def test_every_card_s_weights_are_in_the_manifest():
    from zoo.catalog import CARDS

    for card in CARDS:
        for own in card.weights:
            assert manifest.entry(own.file).needs == card.framework
