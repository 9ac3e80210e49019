"""No text from outside reaches a terminal as something that the terminal obeys."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from tiny_engine import TINY_INFO, TinyEngine, random_frames

from runtime.engine_info import WeightsInfo
from runtime.errors import ZooError
from runtime.terminal import literal, make_console, tell
from runtime.text import printable, printable_lines
from zoo import printing
from zoo.cli import main

CHECKOUT = Path(__file__).resolve().parents[1]
#: Clears the screen, sets the title, turns the direction, overwrites the line, rings.
HOSTILE = "\x1b[2J\x1b]0;owned\x07a\x9b31mb\u202ec\rd\x08[blink]e[/red][link=http://x]f[/link]"
#: The colours that our own console gives; all others come from outside.
_OURS = re.compile(r"\x1b\[[0-9;]*m")


def obeyed(printed: str) -> list[str]:
    """Characters that a terminal would act on, our colours left out."""
    plain = _OURS.sub("", printed).replace("\n", "")
    return [c for c in plain if not c.isprintable()]


@pytest.fixture(params=[False, True], ids=["file", "terminal"])
def console(request: pytest.FixtureRequest) -> Console:
    return make_console(file=StringIO(), force_terminal=request.param, width=200)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_hostile_text_would_be_seen() -> None:
    plain = Console(file=StringIO(), force_terminal=True)
    plain.print(HOSTILE, markup=False)
    assert obeyed(written(plain))


@pytest.mark.parametrize(
    "make",
    [
        lambda: HOSTILE,
        lambda: f"[bold]{HOSTILE}[/bold]",
        lambda: f"[red]{literal(HOSTILE)}[/red]",
        lambda: Text(HOSTILE),
        lambda: Text("x", style="link http://x/\x1b[2J"),
    ],
)
def test_whatever_is_printed_is_printable(console: Console, make: Callable[[], Any]) -> None:
    console.print(make())
    table = Table("name")
    table.add_row(make())
    console.print(table)
    assert not obeyed(written(console))


def test_bars_and_the_spinner_show_names(console: Console) -> None:
    columns = (TextColumn("{task.description}", markup=False),)
    with Progress(*columns, console=console, refresh_per_second=1) as bar:
        bar.add_task(HOSTILE, total=2)
    shown = [line for line in written(console).splitlines() if "owned" in line]
    assert shown
    # A bar moves the cursor and hides it; it takes no other liberty.
    assert not obeyed(re.sub(r"\x1b\[(\?25[lh]|1A|2K)|\r", "", written(console)))


def test_our_markup_is_colour_and_no_other_is_obeyed() -> None:
    console = make_console(file=StringIO(), force_terminal=True, color_system="standard")
    console.print("[red]a[/red] [blink]b[/blink] :smile: [1] \\[red]")
    assert written(console) == "\x1b[31ma\x1b[0m [blink]b[/blink] :smile: [1] [red]\n"


def test_a_name_stays_on_its_line() -> None:
    assert literal("a\nreal  0.0001  other.jpg") == "a\\nreal  0.0001  other.jpg"
    assert printable("\udcff") == "\\xff"
    assert printable_lines("a\nb\x1b") == "a\nb\\x1b"


def test_an_error_keeps_its_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_error(ZooError("a\nerror: b", "first\nsecond \x1b[2J", "[/dim]"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.lstrip()[:4] for line in lines] == ["erro", "why:", "seco", "do: "]
    assert lines[0] == "error: a\\nerror: b"
    assert lines[2] == "       second \\x1b[2J"
    assert lines[3] == "   do: [/dim]"


def test_a_page_in_an_error_leaves_its_way_out_on_the_screen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printing.print_error(ZooError("w" * 100_000, "y\n" * 100_000, "go"))
    shown = capsys.readouterr().err
    assert len(shown) < 10_000
    assert shown.endswith("...\n   do: go\n")


def test_lines_go_where_they_belong(capsys: pytest.CaptureFixture[str]) -> None:
    tell(f"one\n{HOSTILE}")
    tell("two", error=True)
    streams = capsys.readouterr()
    assert streams.out.startswith("one\n\\x1b[2J")
    assert not obeyed(streams.out)
    assert streams.err == "two\n"


def test_log_warnings_and_tracebacks_go_the_same_way() -> None:
    program = f"""
import logging, warnings
from runtime.terminal import guard_messages
guard_messages(verbose=True)
hostile = {HOSTILE!r}
logging.getLogger("x").info("the file %s", hostile)
warnings.warn(hostile)
raise RuntimeError(hostile)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("owned") == 3
    assert "Traceback" in done.stderr
    assert not obeyed(done.stderr)


# --- through the commands ---


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """(engine with a hostile sidecar, image): of hostile names too, as far as files can."""
    folder = tmp_path / "e\x1b[2J"
    folder.mkdir()
    weights = WeightsInfo(
        f"w{HOSTILE}", trained=True, file=f"f{HOSTILE}", sha256="0" * 64, licence=HOSTILE
    )
    info = replace(
        TINY_INFO, title=f"t{HOSTILE}", weights=weights, made_with={f"p{HOSTILE}": HOSTILE}
    )
    engine = TinyEngine.write(folder, info=info, name="n\x1b]0;owned\x07.onnx")
    image = folder / "i\x1b[31m\rface.png"
    pixels = np.kron(random_frames(1)[0], np.ones((8, 8, 1), np.uint8))
    Image.fromarray(pixels).save(image)
    return engine.path, image


def zoo(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.mark.parametrize("command", ["detect", "explain", "evaluate", "verify", "export", "bench"])
def test_a_command_shows_hostile_names_and_texts(
    command: str, hostile: tuple[Path, Path], tmp_path: Path
) -> None:
    engine, image = hostile
    calls: dict[str, list[object]] = {
        "detect": [image, "--engine", engine, "--faces", "none"],
        "explain": [image, "--engine", engine, "--faces", "none", "--out", tmp_path / "h\x1b.png"],
        "evaluate": ["--engine", engine, "--fake-dir", image.parent, "--real-dir", image.parent],
        "verify": [engine, "--images", image.with_suffix("")],
        "export": ["meso4", "--weights", image, "--dry-run", "--builder", "none"],
        "bench": ["--engine", engine, "--baseline", engine.with_suffix(".json")],
    }
    if command == "explain":
        pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    if command == "evaluate":
        pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")
    result = zoo(command, *calls[command])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "\\x1b" in result.output
    assert not obeyed(result.output)


def test_json_is_ascii(hostile: tuple[Path, Path]) -> None:
    engine, image = hostile
    result = zoo("detect", image, "--engine", engine, "--faces", "none", "--json")
    assert result.output.isascii()
    assert not obeyed(result.output)
    assert json.loads(result.output.splitlines()[-1])["path"] == str(image)


def test_a_servers_reason_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.1 500 \x1b[2Jgone\r\nContent-Length: 0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    from weights import manifest, store
    from weights.manifest import Entry

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/x"
    due = Entry("x.h5", url, 10, "MIT", "here", sha256="0" * 64)
    for module in (manifest, store):
        monkeypatch.setattr(module, "entries", lambda: {"x.h5": due})
    monkeypatch.setattr(store, "_CHECKOUT", tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    result = zoo("weights", "fetch", "x.h5")
    server.shutdown()
    server.server_close()
    assert result.exit_code == 2
    assert "500" in result.stderr
    assert not obeyed(result.output)


def test_an_unknown_option_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["zoo", "detect", "--\x1b[2J"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "No such option" in shown
    assert not obeyed(shown)


# --- nobody goes another way ---

_ONE_PLACE = "runtime/terminal.py"


def other_ways(source: str) -> list[int]:
    """Lines that print, or make a console, without `runtime.terminal`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
            found += [node.lineno for name in node.names if name.name == "Console"]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"):
            found.append(node.lineno)
        if called == "TextColumn" and "markup=False" not in ast.unparse(node):
            # A constant holds nothing from outside; the description of a task may.
            found += [node.lineno] * ("description" in ast.unparse(node))
    return found


def for_types_alone(source: str) -> str:
    return re.sub(r"if TYPE_CHECKING:\n(?:    .*\n)+", "", source)


def test_every_module_prints_through_one_place() -> None:
    found = []
    for room in ("runtime", "weights", "zoo", "export", "benchmarks"):
        for path in sorted((CHECKOUT / room).rglob("*.py")):
            name = str(path.relative_to(CHECKOUT))
            if name != _ONE_PLACE:
                source = for_types_alone(path.read_text("utf-8"))
                found += [f"{name}:{line}" for line in other_ways(source)]
    assert not found, found


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "import click\nclick.echo('x')",
        "sys.stderr.write('x')",
        "from rich.console import Console",
        "TextColumn('{task.description}')",
    ],
)
def test_another_way_is_seen(source: str) -> None:
    assert other_ways(source)
