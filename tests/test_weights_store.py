"""Finding, fetching and verifying weights, against a server on the loopback address."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime.errors import WeightsError
from weights import manifest, store
from weights.manifest import Entry

CONTENT = bytes(range(256)) * 4000  # 1 MB
NAME = "thing.h5"


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the server's attributes say how it misbehaves."""

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if server.status != 200:
            self.send_error(server.status)
            return
        body, start = server.content, 0
        server.started.set()
        asked = self.headers.get("Range")
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            first = start if server.first_byte is None else server.first_byte
            last = len(body) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        else:
            self.send_response(200)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = start + server.cut_after if server.cut_after else len(body)
        self.wfile.write(body[start:stop])
        if stop < len(body):
            server.cut_after = 0
            self.wfile.flush()
            server.release.wait()
            self.connection.close()

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.content, made.status, made.ranges, made.cut_after = CONTENT, 200, True, 0
    made.first_byte, made.tells_length = None, True
    made.requests, made.started, made.release = [], threading.Event(), threading.Event()
    made.release.set()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def places(tmp_path, monkeypatch, server) -> dict[str, Path]:
    """Every place the store looks in, empty, and a manifest of one file."""
    folders = {
        n: tmp_path / n for n in ("env", "cache", "checkout/weights/files", "shared/weights")
    }
    for folder in folders.values():
        folder.mkdir(parents=True)
    monkeypatch.setenv("ZOO_WEIGHTS", str(folders["env"]))
    monkeypatch.setenv("ZOO_CACHE", str(folders["cache"]))
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.setattr(store, "_CHECKOUT", tmp_path / "checkout")
    due = Entry(
        NAME,
        f"http://127.0.0.1:{server.server_port}/{NAME}",
        len(CONTENT),
        "MIT",
        "here",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    for module in (manifest, store):
        monkeypatch.setattr(module, "entries", lambda: {NAME: due})
    return folders


def test_the_places_are_looked_in_in_the_order_that_is_documented(places, server):
    order = ["env", "checkout/weights/files", "shared/weights", "cache"]
    for place in reversed(order):
        (places[place] / NAME).write_bytes(CONTENT)
        assert store.locate(NAME).path == places[place] / NAME
    assert not server.requests, "nothing was downloaded"


def test_a_download_is_verified_kept_and_not_repeated(places, server):
    found = store.locate(NAME)
    assert found.path == places["cache"] / NAME
    assert found.path.read_bytes() == CONTENT
    assert store.locate(NAME).origin == "cache"
    assert len(server.requests) == 1
    assert sorted(p.name for p in places["cache"].iterdir()) == [NAME]


def test_an_interrupted_download_goes_on_where_it_stopped(places, server):
    server.cut_after = 300_000
    with pytest.raises(WeightsError, match="could not be fetched"):
        store.fetch(NAME)
    part = places["cache"] / f"{NAME}.part"
    kept = part.stat().st_size
    assert 0 < kept <= 300_000
    assert not (places["cache"] / NAME).exists(), "never half a file under the final name"
    assert store.fetch(NAME).path.read_bytes() == CONTENT
    assert server.requests[1]["Range"] == f"bytes={kept}-"
    assert not part.exists()


def fetch_in_another_process(server) -> subprocess.Popen[str]:
    """`fetch` in a process that was told of the same folders by its environment."""
    code = (
        "import sys; from weights import manifest, store;"
        "due = manifest.Entry(*sys.argv[1:3], int(sys.argv[4]), 'MIT', 'here', sys.argv[3]);"
        "manifest.entries = store.entries = lambda: {due.name: due};"
        "print(store.fetch(due.name).origin)"
    )
    url = f"http://127.0.0.1:{server.server_port}/{NAME}"
    digest = hashlib.sha256(CONTENT).hexdigest()
    return subprocess.Popen(
        [sys.executable, "-c", code, NAME, url, digest, str(len(CONTENT))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(store.__file__).parents[1],
    )


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_a_killed_process_left_is_taken_over(places, server):
    server.cut_after = 300_000
    server.release.clear()
    part = places["cache"] / f"{NAME}.part"
    killed = fetch_in_another_process(server)
    wait_for(lambda: part.exists() and part.stat().st_size > 100_000)
    killed.kill()
    killed.communicate()
    server.release.set()
    kept = part.stat().st_size
    assert store.fetch(NAME).path.read_bytes() == CONTENT
    assert server.requests[1]["Range"] == f"bytes={kept}-"
    # pooch makes an empty file beforehand, which nobody is left to remove
    assert [p.name for p in places["cache"].iterdir() if p.stat().st_size] == [NAME]


def test_two_processes_fetch_a_file_once(places, server):
    server.cut_after = len(CONTENT) - 1  # the first is held up one byte before its end
    server.release.clear()
    first = fetch_in_another_process(server)
    server.started.wait(30)
    second = fetch_in_another_process(server)
    assert "waiting for another download" in second.stderr.readline()
    server.release.set()
    second_out, _ = second.communicate(timeout=30)
    _, first_error = first.communicate(timeout=30)
    assert "could not be fetched" in first_error, "its connection broke"
    assert second_out == "download\n"
    resumed_at = int(server.requests[1]["Range"].removeprefix("bytes=").rstrip("-"))
    assert resumed_at > len(CONTENT) - 100_000, "it went on from there"
    assert (places["cache"] / NAME).read_bytes() == CONTENT
    assert sorted(p.name for p in places["cache"].iterdir()) == [NAME]


def test_a_server_that_ignores_ranges_starts_over(places, server):
    (places["cache"] / f"{NAME}.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert store.fetch(NAME).path.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [1000, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1])
def test_a_stale_part_of_another_file_is_dropped(places, server, size):
    (places["cache"] / f"{NAME}.part").write_bytes(b"x" * size)
    assert store.fetch(NAME).path.read_bytes() == CONTENT
    assert "Range" not in server.requests[-1], "it started over"
    assert len(server.requests) <= 2
    assert sorted(p.name for p in places["cache"].iterdir()) == [NAME]


def test_a_server_that_answers_with_another_range_is_asked_for_all(places, server):
    (places["cache"] / f"{NAME}.part").write_bytes(CONTENT[:1000])
    server.first_byte = 7
    assert store.fetch(NAME).path.read_bytes() == CONTENT
    assert ["Range" in asked for asked in server.requests] == [True, False]


def test_a_part_longer_than_the_server_s_file_is_no_endless_loop(places, server):
    (places["cache"] / f"{NAME}.part").write_bytes(CONTENT[:1000])
    server.content = CONTENT[:500]
    with pytest.raises(WeightsError, match="500 bytes"):
        store.fetch(NAME)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(CONTENT + b"x", "more than the"), (CONTENT[:-1], "closed early")],
)
def test_a_wrong_length_is_seen_where_the_server_does_not_tell_it(places, server, content, words):
    server.tells_length = False
    server.content = content
    with pytest.raises(WeightsError, match=words):
        store.fetch(NAME)
    assert not (places["cache"] / NAME).exists()


def test_a_file_is_taken_out_of_an_archive(places, server, monkeypatch):
    server.content = zipped({"inside/thing.h5": CONTENT, "other": b"x"})
    due = replace(
        store.entry(NAME),
        url=f"http://127.0.0.1:{server.server_port}/whole.zip#inside/thing.h5",
        archive_bytes=len(server.content),
    )
    monkeypatch.setattr(manifest, "entries", lambda: {NAME: due})
    server.cut_after = len(server.content) - 10
    with pytest.raises(WeightsError, match="are kept for the next try"):
        store.fetch(NAME)
    path = store.fetch(NAME).path
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask(), "not pooch's 0600"
    assert sorted(p.name for p in places["cache"].iterdir()) == [NAME]


@pytest.mark.parametrize(
    "content",
    [
        bytes(100),
        zipped({"other": b"x"}),
        zipped({"inside/thing.h5": CONTENT + b"x"}),
    ],
)
def test_an_archive_without_the_file_is_named(places, server, monkeypatch, content):
    server.content = content
    url = f"http://127.0.0.1:{server.server_port}/whole.zip#inside/thing.h5"
    due = replace(store.entry(NAME), url=url, archive_bytes=len(content))
    monkeypatch.setattr(manifest, "entries", lambda: {NAME: due})
    with pytest.raises(WeightsError, match=r"inside/thing\.h5"):
        store.fetch(NAME)
    assert list(places["cache"].iterdir()) == []


def test_a_full_disk_is_named_with_the_way_out(places, server):
    (places["cache"] / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match="No space left") as caught:
        store.fetch(NAME)
    assert "ZOO_CACHE" in caught.value.todo
    assert str(places["cache"]) in caught.value.why


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(places, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match="cannot be written") as caught:
        store.fetch(NAME)
    assert "ZOO_CACHE" in caught.value.todo


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it likes")
def test_a_read_only_cache(places):
    places["cache"].chmod(0o500)
    with pytest.raises(WeightsError, match="cannot be written"):
        store.fetch(NAME)
    places["cache"].chmod(0o700)


def test_fetch_replaces_a_damaged_file_in_the_cache_and_nowhere_else(places, server):
    (places["cache"] / NAME).write_bytes(b"damaged")
    with pytest.raises(WeightsError) as caught:
        store.locate(NAME)
    assert caught.value.todo == f"zoo weights fetch {NAME}", "which is what helps"
    assert store.fetch(NAME).path.read_bytes() == CONTENT
    (places["env"] / NAME).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=f"remove {places['env'] / NAME}"):
        store.fetch(NAME)
    assert (places["env"] / NAME).read_bytes() == b"damaged"


def test_fetch_downloads_nothing_that_is_here(places, server, monkeypatch):
    (places["shared/weights"] / NAME).write_bytes(CONTENT)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert store.fetch(NAME).origin == "../shared/weights"
    assert not server.requests


@pytest.mark.timeout(10)
def test_a_pipe_in_a_file_s_place_is_named_and_never_read(places, monkeypatch):
    path = places["env"] / NAME
    os.mkfifo(path)
    with pytest.raises(WeightsError, match="not the published file") as caught:
        store.locate(NAME)
    assert "a pipe" in caught.value.why
    assert store.check()[0].status == "damaged"
    # It may become one after it was looked at, too.
    with pytest.raises(WeightsError, match="is a pipe"):
        store.hash_of(path, "sha256")


def test_several_folders_of_the_user(places, monkeypatch, tmp_path):
    (places["env"] / NAME).write_bytes(CONTENT)
    monkeypatch.setenv("ZOO_WEIGHTS", os.pathsep.join([str(tmp_path / "no"), str(places["env"])]))
    assert store.locate(NAME).path == places["env"] / NAME


def test_a_face_detector_has_no_random_weights_to_go_on_with(places, monkeypatch):
    due = replace(store.entry(NAME), use="faces")
    monkeypatch.setattr(manifest, "entries", lambda: {NAME: due})
    with pytest.raises(WeightsError) as caught:
        store.locate(NAME, download=False)
    assert "random" not in str(caught.value)
    assert due.sha256 in caught.value.why


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": CONTENT[:-1] + b"x"}, "sha256"),
        ({"content": CONTENT[:500]}, "500 bytes"),
        ({"content": b"<html>"}, "6 bytes"),
        ({"status": 404}, "404"),
        ({"status": 500}, "500"),
    ],
)
def test_a_wrong_answer_is_named_and_nothing_is_left(places, server, change, words):
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(WeightsError) as caught:
        store.locate(NAME)
    assert words in str(caught.value)
    assert not (places["cache"] / NAME).exists()


@pytest.fixture
def pinned_by_md5(places, monkeypatch) -> Entry:
    """The manifest of one file, which is pinned by an md5 alone."""
    due = replace(store.entry(NAME), sha256=None, md5=hashlib.md5(CONTENT).hexdigest())
    for module in (manifest, store):
        monkeypatch.setattr(module, "entries", lambda: {NAME: due})
    return due


def test_a_file_pinned_by_md5_is_fetched_and_has_a_sha256(places, server, pinned_by_md5):
    fetched, found = store.fetch(NAME), store.locate(NAME)
    assert (fetched.origin, found.origin) == ("download", "cache")
    for file in (fetched, found):
        assert file.sha256 == hashlib.sha256(CONTENT).hexdigest(), "of the file, for the sidecar"
    assert len(server.requests) == 1
    assert store.check()[0].status == "ok"


def test_another_md5_is_refused_wherever_the_file_comes_from(places, server, pinned_by_md5):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(WeightsError, match="other bytes than the published ones") as caught:
        store.fetch(NAME)
    assert f"md5 {pinned_by_md5.md5}" in caught.value.why
    assert not (places["cache"] / NAME).exists()
    (places["env"] / NAME).write_bytes(server.content)
    other = hashlib.md5(server.content).hexdigest()
    with pytest.raises(WeightsError, match="not the published file") as caught:
        store.locate(NAME)
    assert caught.value.why == f"its md5 is {other}, {pinned_by_md5.md5} is due"
    (status,) = store.check()
    assert (status.status, status.problem) == ("damaged", caught.value.why)


def assert_way_out(error: WeightsError, server, places) -> None:
    text = str(error)
    assert f"http://127.0.0.1:{server.server_port}/{NAME}" in text
    assert hashlib.sha256(CONTENT).hexdigest() in text
    assert str(places["checkout/weights/files"]) in text
    assert "--weights random" in text


def test_offline_and_not_found_says_all_that_is_needed(places, server, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        store.locate(NAME)
    assert_way_out(caught.value, server, places)
    assert not server.requests


def test_no_network_says_the_same(places, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError) as caught:
        store.locate(NAME)
    assert_way_out(caught.value, server, places)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"x"])
def test_a_damaged_file_stops_the_search_and_is_named(places, server, content):
    (places["env"] / NAME).write_bytes(content)
    (places["cache"] / NAME).write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="not the published file") as caught:
        store.locate(NAME)
    assert str(places["env"] / NAME) in caught.value.what


def test_a_directory_where_a_file_is_due(places):
    (places["env"] / NAME).mkdir()
    with pytest.raises(WeightsError, match="is a directory"):
        store.locate(NAME)


def test_an_unknown_name_is_refused(places):
    with pytest.raises(WeightsError, match=r"no file 'nothing\.h5'"):
        store.locate("nothing.h5")


def test_two_at_once_do_not_damage_each_other(places, server):
    results, errors = [], []

    def run() -> None:
        try:
            results.append(store.fetch(NAME).path.read_bytes() == CONTENT)
        except WeightsError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert results == [True] * 4


def test_the_state_of_every_file_is_told(places):
    (status,) = store.list_files()
    assert status.status == "missing"
    (places["cache"] / NAME).write_bytes(CONTENT)
    assert store.list_files()[0].status == "present"
    assert store.check()[0].status == "ok"
    (places["cache"] / NAME).write_bytes(CONTENT[:-1] + b"x")
    assert store.list_files()[0].status == "present", "of the right size, not read"
    assert store.check()[0].status == "damaged"
