"""What an import costs, and which room may import which.

Every room must open where the heavy packages are not installed, and production code
(`runtime`) must know nothing of how an engine was made.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
ROOMS = ("runtime", "weights", "zoo", "export", "benchmarks")

FRAMEWORKS = ["tensorflow", "keras", "tf2onnx", "torch", "torchvision", "h5py", "safetensors"]
ENGINES = ["onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "pycuda"]
HEAVY = [
    *FRAMEWORKS,
    *ENGINES,
    *("onnx", "onnx_ir", "onnxslim", "PIL", "click", "rich", "pooch", "requests", "cv2", "gradio"),
]

#: Makes packages look as if they were not installed.
BLOCK = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in BLOCKED:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def python(code: str, *, blocked: list[str] | None = None) -> str:
    """What ``code`` prints in a process of its own, where ``blocked`` cannot be imported."""
    if blocked is not None:
        code = f"BLOCKED = {set(blocked)!r}\n{BLOCK}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_of(room: str) -> list[str]:
    """Names of all modules of a room."""
    return [
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((CHECKOUT / room).rglob("*.py"))
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_opening_a_room_imports_nothing_heavy(room: str) -> None:
    code = f"import sys, {room}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    assert not set(python(code).split()) & set(HEAVY)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_opens_where_heavy_packages_are_missing(room: str) -> None:
    python(f"import {room}", blocked=HEAVY)


def test_weights_and_zoo_open_without_numpy() -> None:
    python("import weights, zoo", blocked=[*HEAVY, "numpy"])


def test_every_module_of_the_runtime_opens_with_numpy_alone() -> None:
    """Packages are imported by the function that needs them, so that errors can name them."""
    names = modules_of("runtime")
    assert {"runtime", "runtime.detector", "runtime.backends.onnxruntime"} <= set(names)
    python("".join(f"import {name}\n" for name in names), blocked=HEAVY)


def test_the_blocker_blocks() -> None:
    code = "try:\n    import PIL.Image\nexcept ModuleNotFoundError as error:\n    print(error)"
    assert python(code, blocked=HEAVY).strip() == "No module named 'PIL'"


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["show", "meso4"], ["doctor"]])
def test_command_without_frameworks_and_engines(arguments: list[str]) -> None:
    """What tells a user what is missing must not need it."""
    code = f"import sys\nsys.argv = ['zoo', *{arguments!r}]\nfrom zoo.cli import main\nmain()"
    assert len(python(code, blocked=[*FRAMEWORKS, *ENGINES])) > 100


# Who may import whom.

#: Rooms that a room may import whenever it likes, and those only inside a function.
MAY_IMPORT: dict[str, tuple[set[str], set[str]]] = {
    "runtime": (set(), set()),
    "weights": (set(), set()),
    "zoo": ({"weights", "runtime"}, {"export", "benchmarks"}),
    "export": ({"zoo", "weights", "runtime"}, set()),
    "benchmarks": ({"zoo", "weights", "runtime", "export"}, set()),
}
#: The parts of `zoo` that are the command: they alone reach for the rooms above theirs.
COMMAND = {"cli", "first_run", "printing", "doctor"}
COMMANDS = "zoo.commands"
#: The hierarchy of errors, what reads and prints texts from outside, and locks are everybody's.
EVERYBODYS = (
    "runtime.errors",
    "runtime.files",
    "runtime.text",
    "runtime.confined",
    "runtime.terminal",
    "runtime.locks",
    "runtime.typed_json",
)


class Import(NamedTuple):
    module: str
    line: int
    lazy: bool  # inside a function, or for type checkers alone


def imports(source: str, package: str) -> Iterator[Import]:
    """Every import of a module, with full names.

    Args:
        source: of the module.
        package: that it is in, for relative imports.
    """

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = base if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            # `from runtime import errors` is an import of runtime.errors.
            yield Import(module, node.lineno, lazy)
            for alias in node.names:
                yield Import(f"{module}.{alias.name}".lstrip("."), node.lineno, lazy)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        inside = lazy or for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(source), False)


def violations(room: str, name: str, source: str, package: str) -> list[str]:
    """Imports of one module that break the rule."""
    always, lazily = MAY_IMPORT[room]
    found = []
    for module, line, lazy in imports(source, package):
        target = module.partition(".")[0]
        if target not in (*ROOMS, "tests") or target == room or target in always:
            continue
        if room == "weights" and f"{module}.".startswith(tuple(f"{m}." for m in EVERYBODYS)):
            continue
        if target in lazily and lazy and (name in COMMAND or package == COMMANDS):
            continue
        found.append(f"{package}/{name}.py:{line} imports {module}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_may(room: str) -> None:
    found = []
    for path in sorted((CHECKOUT / room).rglob("*.py")):
        package = ".".join(path.parent.relative_to(CHECKOUT).parts)
        found += violations(room, path.stem, path.read_text("utf-8"), package)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("package", "name", "source", "allowed"),
    [
        ("runtime", "frames", "import zoo.catalog", False),
        ("runtime", "frames", "def f():\n    from export import plan", False),
        ("runtime", "frames", "from . import errors", True),
        ("runtime", "frames", "from .. import weights", False),
        ("runtime", "frames", "from runtime.errors import ZooError", True),
        ("weights", "store", "from runtime.errors import WeightsError", True),
        ("weights", "store", "from runtime.files import snapshot", True),
        ("weights", "store", "from runtime import Detector", False),
        ("weights", "store", "import zoo", False),
        ("zoo", "cli", "def f():\n    from export.pipeline import export_network", True),
        ("zoo", "cli", "from export.pipeline import export_network", False),
        ("zoo.commands", "export", "def f():\n    from export.verify import verify_engine", True),
        ("zoo.commands", "export", "from export.verify import verify_engine", False),
        ("zoo.demo", "page", "def f():\n    import export", False),
        ("zoo", "card", "def f():\n    import export", False),
        ("zoo", "printing", "if TYPE_CHECKING:\n    from export.plan import Plan", True),
        ("export", "plan", "import zoo, weights.store, runtime.errors", True),
        ("export", "plan", "import benchmarks", False),
        ("benchmarks", "run", "import tests.conftest", False),
    ],
)
def test_the_rule_is_seen_to_be_broken(package: str, name: str, source: str, allowed: bool) -> None:
    assert (not violations(package.partition(".")[0], name, source, package)) == allowed
