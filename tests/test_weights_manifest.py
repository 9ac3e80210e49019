"""The manifest: every stated fact, against the files themselves where they are here."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from urllib.parse import urldefrag

import pytest

from runtime.errors import WeightsError
from weights import manifest

SPDX = {"Apache-2.0", "MIT", "BSD-3-Clause", "none stated"}


@pytest.mark.parametrize("entry", manifest.entries().values(), ids=lambda e: e.name)
def test_every_entry_is_whole(entry):
    assert re.fullmatch(r"https://[\w.-]+/\S+", entry.url)
    assert entry.url.endswith(f"/{entry.name}")
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
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


@pytest.mark.weights
def test_the_manifest_agrees_with_the_files_that_are_here(weights_dir):
    here = {e.name: e for e in manifest.entries().values() if (weights_dir / e.name).exists()}
    assert set(here) == {p.name for p in weights_dir.iterdir()}, "each is in the manifest"
    for entry in here.values():
        path = weights_dir / entry.name
        assert path.stat().st_size == entry.bytes
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256


def test_every_card_s_weights_are_in_the_manifest():
    from zoo.catalog import CARDS

    for card in CARDS:
        for own in card.weights:
            assert manifest.entry(own.file).needs == card.framework
