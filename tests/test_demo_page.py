"""The page of `zoo demo`: who reaches it, how it ends, and what a browser shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from demo_files import write_clip, write_picture
from tiny_engine import TinyEngine, TinyWeights

from runtime import Detector
from runtime.errors import ZooError
from zoo.commands.look import _ended_by_signals
from zoo.demo import gate, page
from zoo.demo.gate import allowed_hosts

pytest.importorskip("av", reason="PyAV is not installed (extra: video)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "a <b> face.png")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", seconds=2)


@pytest.mark.parametrize(
    ("host", "more", "reached", "refused"),
    [
        ("127.0.0.1", (), {"localhost", "127.0.0.1", "::1"}, {"10.0.0.5"}),
        ("localhost", (), {"localhost", "127.0.0.1"}, set()),
        ("[::1]", (), {"localhost", "::1"}, set()),
        ("10.0.0.5", (), {"10.0.0.5"}, {"localhost", "127.0.0.1"}),
        ("0.0.0.0", (), {"localhost", socket.gethostname().lower()}, {"evil.example"}),
        ("10.0.0.5", ("Faces.example",), {"10.0.0.5", "faces.example"}, set()),
    ],
)
def test_a_page_is_reached_by_its_own_names(
    host: str, more: tuple[str, ...], reached: set[str], refused: set[str]
) -> None:
    found = set(allowed_hosts(host, more))
    assert reached <= found
    assert not refused & found


def ask(
    url: str, body: bytes | None = None, kind: str = "", **headers: str
) -> tuple[int, bytes, Message]:
    """(status, body, headers) of an answer."""
    request = urllib.request.Request(url, body, {"Content-Type": kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def upload(address: str, *contents: bytes) -> tuple[int, bytes]:
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + content + b"\r\n"
        for content in contents
    ]
    body = b"".join(parts) + b"--x--\r\n"
    return ask(f"{address}gradio_api/upload", body, "multipart/form-data; boundary=x")[:2]


def judge(address: str, path: str, session: str) -> str:
    """The answer that the page would show."""
    _, config, _ = ask(f"{address}config")
    event = {
        "data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "t"],
        "fn_index": json.loads(config)["dependencies"][0]["id"],
        "session_hash": session,
    }
    join = ask(f"{address}gradio_api/queue/join", json.dumps(event).encode(), "application/json")
    assert join[0] == 200, join
    _, stream, _ = ask(f"{address}gradio_api/queue/data?session_hash={session}")
    messages = [json.loads(line[6:]) for line in stream.decode().splitlines() if line]
    (done,) = [m for m in messages if m["msg"] == "process_completed"]
    return str(done["output"]["data"][0])


def wait_until(holds: Callable[[], bool]) -> None:
    """An upload is swept away when its answer has been sent already."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_page_is_private_and_bounded(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Path
) -> None:
    """One page for many questions: it takes seconds to come up."""
    pytest.importorskip("gradio", reason="gradio is not installed (extra: demo)")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with Detector(tiny_engine.path) as detector, page.serve({"t": detector}, None) as address:
        host = urllib.parse.urlsplit(address).netloc
        port = host.rpartition(":")[2]
        # Who may ask: the page itself, under a name of its own.
        assert ask(address)[0] == 200
        assert ask(address, Host=f"localhost:{port}")[0] == 200
        for name in ("evil.example", f"127.0.0.1.evil.example:{port}", ""):
            assert ask(address, Host=name)[0] == 400
        assert ask(f"{address}config", Origin=f"http://{host}")[0] == 200
        for origin in ("http://evil.example", "null", f"http://localhost:{port}"):
            status, _, headers = ask(f"{address}config", Origin=origin)
            assert status == 403
            assert not [key for key in headers if key.lower().startswith("access-control")]
        # Two users with one picture both get their answer.
        content = picture.read_bytes()
        (first,), (second,) = (json.loads(upload(address, content)[1]) for _ in range(2))
        assert first == second
        for session, path in (("one", first), ("two", second)):
            assert "P(fake)" in judge(address, path, session)
        wait_until(lambda: not list(temporary.glob("zoo-demo-*/*")))
        # How much one may send.
        assert upload(address, content, content)[0] == 400
        wait_until(lambda: not list(temporary.glob("zoo-demo-*/*")))
        with monkeypatch.context() as small:
            small.setattr(gate, "MOST_BYTES", 1000)
            assert upload(address, bytes(100_000))[0] == 413
        with monkeypatch.context() as full:
            full.setattr("zoo.demo.uploads.MOST_WAITING", 0)
            status, words = upload(address, content)
            assert (status, b"try again" in words) == (503, True)
        assert ask(f"{address}gradio_api/upload", b"", "multipart/form-data; boundary=x")[0] == 400
    assert not list(temporary.glob("zoo-demo-*"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)]
)
def test_a_signal_ends_what_is_open(number: signal.Signals, code: int) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    closed = []

    @contextmanager
    def files() -> Iterator[None]:
        try:
            yield
        finally:
            signal.raise_signal(number)  # a second one breaks nothing off
            closed.append(True)

    with pytest.raises(SystemExit) as ended, _ended_by_signals(), files():
        signal.raise_signal(number)
    assert ended.value.code == code
    assert closed
    after = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    assert after == handlers


@pytest.mark.slow
def test_a_signal_leaves_neither_files_nor_a_traceback(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    """With a browser connected, as its page keeps a connection open."""
    pytest.importorskip("gradio", reason="gradio is not installed (extra: demo)")
    program = (
        "import zoo.commands.look as look; look.open_finder = lambda name: None\n"
        f"from zoo.cli import main; main(['demo', '--engine', {str(tiny_engine.path)!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            (address,) = re.findall(r"http://\S+", process.stdout.readline())
            with urllib.request.urlopen(f"{address}gradio_api/heartbeat/x") as open_stream:
                assert upload(address, b"a picture")[0] == 200
                assert [p for p in tmp_path.rglob("*") if p.is_file()]
                process.terminate()
                assert process.wait(20) == 143
                open_stream.read()
        finally:
            process.kill()
        assert process.stderr.read() == ""
    assert not list(tmp_path.glob("zoo-demo-*"))


# --- in a browser ---

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_DRIVER = shutil.which("chromedriver")


@pytest.fixture
def served(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """(address, folder of temporary files) of a page that offers the tiny engine."""
    pytest.importorskip("gradio", reason="gradio is not installed (extra: demo)")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (tmp_path / "other").mkdir()
    other = TinyEngine.write(tmp_path / "other", weights=TinyWeights.constant(3.0))
    with (
        Detector(tiny_engine.path) as detector,
        Detector(other.path) as always_fake,
        page.serve({"tiny": detector, "always fake": always_fake}, None) as address,
    ):
        yield address, temporary


@pytest.fixture
def browser() -> Iterator[Any]:
    if _CHROMIUM is None or _DRIVER is None:
        pytest.skip("no chromium and chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,1500",
                     "--disable-dev-shm-usage", "--disable-background-networking"):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def drop(browser: Any, path: Path, expected: str) -> str:
    """Give the page a file; the text of its answer once ``expected`` is in it."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, 90)
    field = wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "#upload input[type=file]"))
    field.send_keys(str(path))

    def text(browser: Any) -> str:
        try:
            return str(browser.find_element(By.ID, "result").text)
        except Exception:  # it is being replaced
            return ""

    wait.until(lambda b: re.search(expected, text(b)))
    return text(browser)


def choose(browser: Any, engine: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.find_element(By.CSS_SELECTOR, "input[aria-label=Engine]").click()
    option = f"//*[@role='option'][@aria-label='{engine}']"
    WebDriverWait(browser, 30).until(lambda b: b.find_element(By.XPATH, option)).click()


@pytest.mark.slow
def test_a_file_goes_in_and_a_verdict_comes_out(
    served: tuple[str, Path], browser: Any, picture: Path, clip: Path, tiny_engine: TinyEngine
) -> None:
    address, temporary = served
    assert address.startswith("http://127.0.0.1:")
    browser.get(address)
    with Detector(tiny_engine.path) as detector:
        (due,) = detector.classify(picture)
    text = drop(browser, picture, r"P\(fake\) \d")
    assert f"{due.label.upper()}: P(fake) {due.fake:.3f}" in text
    assert "b face.png" in text  # Gradio leaves out what a file name may not hold
    if folder := os.environ.get("ZOO_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / "demo.png"))
    assert "faces in" in drop(browser, clip, "clip.mp4")
    broken = picture.with_name("broken.png")
    broken.write_bytes(b"nothing")
    assert "broken.png is not an image" in drop(browser, broken, "cannot be judged")
    choose(browser, "always fake")
    assert "FAKE: P(fake) 0.953" in drop(browser, picture, "always fake")
    left = [p for p in temporary.rglob("*") if p.is_file()]
    assert not [p for p in left if "zoo-demo" in str(p)], "nothing is kept"
    # All that the page asked for came from this machine.
    urls = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert urls
    outside = [u for u in urls if not u.startswith((address.rstrip("/"), "data:", "blob:"))]
    assert not outside


def test_nothing_is_kept_when_the_page_is_closed(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed (extra: demo)")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keys = ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY")
    before = [os.environ.get(key) for key in keys]
    with (
        Detector(tiny_engine.path) as detector,
        page.serve({"tiny": detector}, None) as address,
    ):
        assert list(tmp_path.glob("zoo-demo-*"))
        with urllib.request.urlopen(f"{address}config") as answer:
            config = json.load(answer)
        assert config["run_history"] is False
        assert config["analytics_enabled"] is False
        taken = page.serve(
            {"tiny": detector}, None, port=int(address.rstrip("/").rpartition(":")[2])
        )
        with pytest.raises(ZooError, match="cannot be served"):
            taken.__enter__()
    assert not list(tmp_path.glob("zoo-demo-*"))
    assert [os.environ.get(key) for key in keys] == before
