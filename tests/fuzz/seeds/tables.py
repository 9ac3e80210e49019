"""Archives of images, tables and results."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path

from ..mutators import zipped
from . import engines, good, hostile, media, packed, zip_bomb


def _members() -> dict[str, bytes]:
    png = media.IMAGES[2].make()
    return {"set/fake/a.png": png, "set/real/b.png": png, "set/real/notes.txt": b"x"}


def _tar(form: int, mode: str = "w", **more: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in _members().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.pax_headers = dict(more)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(file.getvalue(), mtime=0) if mode == "w:gz" else file.getvalue()


def tar_gnu() -> bytes:
    """As GNU tar makes it."""
    return _tar(tarfile.GNU_FORMAT)


def tar_pax() -> bytes:
    """With pax records."""
    return _tar(tarfile.PAX_FORMAT, comment="caf\xe9")


def tar_gz() -> bytes:
    """Compressed."""
    return _tar(tarfile.USTAR_FORMAT, "w:gz")


def _add(info: tarfile.TarInfo, data: bytes = b"") -> bytes:
    """A member before the good ones."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(data))
        for name, content in _members().items():
            other = tarfile.TarInfo(name)
            other.size = len(content)
            archive.addfile(other, io.BytesIO(content))
    return file.getvalue()


def _named(name: str, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def tar_sparse() -> bytes:
    """An image of six gigabytes, of which nothing is stored."""
    info = _named("set/fake/large.png")
    info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(6 << 30),
                        "GNU.sparse.numblocks": "1"}  # fmt: skip
    return _add(info)


def tar_bomb() -> bytes:
    """Two gigabytes of zeros in two megabytes."""
    head = _named("set/fake/large.png", 2000 << 20).tobuf(tarfile.GNU_FORMAT)
    return packed(31, (head, 1), (bytes(1 << 20), 2000), (tar_gnu(), 1))


def tar_cut_gz() -> bytes:
    """Cut off."""
    return tar_gz()[:-40]


def tar_long_names() -> bytes:
    """Four thousand names of a hundred kilobytes each, packed."""
    member = _named(f"set/fake/{'n' * 100_000}.png").tobuf(tarfile.GNU_FORMAT)
    return packed(31, (member, 4000), (tar_gnu(), 1))


def tar_many_members() -> bytes:
    """Half a million members, packed."""
    header = _named("set/fake/x.txt").tobuf(tarfile.USTAR_FORMAT)
    return packed(31, (header * 1000, 500), (tar_gnu(), 1))


def tar_pipe() -> bytes:
    """A pipe and a device among the images."""
    info = _named("set/fake/pipe.png")
    info.type = tarfile.FIFOTYPE
    return _add(info)


def tar_link() -> bytes:
    """A link to a file outside."""
    info = _named("set/fake/link.png")
    info.type, info.linkname = tarfile.SYMTYPE, "../../canary"
    return _add(info)


def tar_escapes() -> bytes:
    """A name that drives a terminal."""
    return _add(_named("set/fake/\x1b]0;owned\x07.png", 3), b"abc")


def download() -> bytes:
    """An archive with a file of the manifest in it."""
    return zipped({"models/fuzzed.h5": b"the file", "README.txt": b"x" * 100})


def download_bomb() -> bytes:
    """The same file of a gigabyte, in a megabyte."""
    return zip_bomb("models/fuzzed.h5", {"README.txt": b"x"}, (bytes(1 << 20), 1200))


def csv_goldens() -> bytes:
    """The original's scores."""
    return b"file,logit,score\na.png,-1.5,0.2\nb.png,2,0.9\n"


def csv_labels() -> bytes:
    """Labels of files."""
    return b"file,label,more\na.png,fake,1\nb.png,real,\n"


def csv_long_field() -> bytes:
    """A field of megabytes."""
    return b'file,label,score\n"' + b"x" * (2 << 20) + b'",fake,1\n'


def csv_extra_fields() -> bytes:
    """Rows of more and of fewer fields than the first."""
    return b"file,label,score\na.png,fake,1,2,3\nb.png\n"


def baseline() -> bytes:
    """An earlier run of ``zoo bench``."""
    from benchmarks.peers import ENGINE
    from benchmarks.result import FORMAT

    figures = [{"peer": ENGINE, "batch": batch, "images_per_s": 100.0} for batch in (1, 8)]
    return json.dumps({"format": FORMAT, "figures": figures, "environment": {"cpu": "x", "cores": 2,
        "gpus": [{"name": "y"}]}, "settings": {"backend": "onnxruntime", "threads": None},
        "engine": {"network": "tiny", "kind": "onnx", "weights": "w",
                   "precision": "fp32"}}).encode()  # fmt: skip


def resume() -> bytes:
    """What ``zoo detect --resume`` writes of a picture and of what is none."""
    from click.testing import CliRunner

    from zoo.cli import main

    with tempfile.TemporaryDirectory() as folder:
        for name, data in (
            *engines.engine_files().items(),
            ("a.png", media.IMAGES[2].make()),
            ("b.png", b"no picture"),
        ):
            Path(folder, name).write_bytes(data)
        words = ["a.png", "b.png", "--engine", "tiny.onnx", "--resume", "x.jsonl"]
        paths = [str(Path(folder, word)) if "." in word else word for word in words]
        CliRunner().invoke(main, ["detect", *paths, "--faces", "none", "--json"])
        return Path(folder, "x.jsonl").read_bytes()


def resume_unhashable() -> bytes:
    """Lists where a key is made of them."""
    return b'{"path": [], "bytes": {}, "modified": [1], "run": "run"}\n'


def manifest() -> bytes:
    """A manifest of two files."""
    entry = (
        'bytes = 5\nlicence = "MIT"\nsource = "s"\nneeds = "keras"\n'
        'url = "https://example.org/x.h5"\n'
    )
    return (
        f'["a.h5"]\n{entry}sha256 = "{"0" * 64}"\n\n["b.pth"]\n{entry}md5 = "{"1" * 32}"\n'
    ).encode()


def leftovers() -> bytes:
    """What killed exports leave in a folder: kind and name, line by line."""
    names = ("d .exporting-tiny-1", f"d .exporting-tiny-{os.getpid()}", "f tiny.onnx",
             "d .exporting-tiny-999999999", "f tiny.json", "f .lock",
             "l .exporting-tiny-x")  # fmt: skip
    return "\n".join(names).encode()


TARS = good(tar_gnu, tar_pax, tar_gz) + hostile(
    tar_sparse, tar_bomb, tar_cut_gz, tar_long_names, tar_many_members, tar_pipe, tar_link,
    tar_escapes,
)  # fmt: skip
#: The same code opens them; what is done with names and labels is another's.
LABELLED_TARS = (*TARS[:3], *hostile(tar_cut_gz, tar_long_names, tar_link, tar_escapes))
DOWNLOADS = good(download) + hostile(download_bomb)
_ODD_CSV = hostile(csv_long_field, csv_extra_fields)
GOLDENS = good(csv_goldens) + _ODD_CSV
LABELS = good(csv_labels) + _ODD_CSV
BASELINES = good(baseline)
RESULTS = good(resume) + hostile(resume_unhashable)
MANIFESTS = good(manifest)
LEFTOVERS = good(leftovers)
