"""Every TensorRT name the project touches exists in every TensorRT it supports.

Looked up in NVIDIA's own bindings, each in a process of its own: TensorRT 10.16 and 11.4
over a stub library, TensorRT-RTX as installed.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from functools import cache
from pathlib import Path

import pytest
from trt_stub.attributes import FLAVOURS, MODULE, Touch, UnresolvedError, classes, touched
from trt_stub.bindings import CHECKOUT, VERSIONS, UnavailableError, prepare, run

MODULE_PATH = CHECKOUT / "runtime" / "tensorrt_api.py"

#: What one flavour alone has, and the module touches behind a guard. It grows only when
#: somebody means it to.
ONLY_RTX = {
    (MODULE, "ComputeCapability"),
    (MODULE, "CudaGraphStrategy"),
    ("ComputeCapability", "__members__"),
    ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
    ("IRuntimeCache", "deserialize"),
    ("IRuntimeCache", "serialize"),
    ("IRuntimeConfig", "create_runtime_cache"),
    ("IRuntimeConfig", "cuda_graph_strategy"),
    ("IRuntimeConfig", "set_runtime_cache"),
}

BINDINGS = [*VERSIONS, "rtx"]


@cache
def touches() -> list[Touch]:
    return touched(MODULE_PATH.read_text())


@cache
def members(which: str) -> dict[str, set[str]]:
    """Attributes of the module and of every class it touches, in one version of TensorRT."""
    if which == "rtx":
        if importlib.util.find_spec("tensorrt_rtx") is None:
            pytest.skip("tensorrt_rtx is not installed (extra 'rtx')")
        source = "import tensorrt_rtx as trt\n"
    else:
        try:
            source = prepare(which) + "import tensorrt as trt\n"
        except UnavailableError as error:
            pytest.skip(str(error))
    source += (
        "import json\n"
        f"names = {list(classes(touches()))!r}\n"
        "found = {n: dir(getattr(trt, n)) for n in names if hasattr(trt, n)}\n"
        f"print(json.dumps(found | {{{MODULE!r}: dir(trt), 'version': [trt.__version__]}}))\n"
    )
    return {name: set(value) for name, value in json.loads(run(source)).items()}


def missing(which: str) -> set[tuple[str, str]]:
    """Touched names that a version of TensorRT does not have, guarded or not."""
    found = members(which)
    return {
        (t.owner, t.attribute) for t in touches() if t.attribute not in found.get(t.owner, set())
    }


@pytest.mark.parametrize("which", BINDINGS)
def test_every_touched_attribute_exists(which: str) -> None:
    flavour = "tensorrt_rtx" if which == "rtx" else "tensorrt"
    lacking = missing(which)
    faults = [
        f"line {t.line}: {t.owner}.{t.attribute}"
        for t in touches()
        if flavour in t.flavours and (t.owner, t.attribute) in lacking
    ]
    assert not faults, f"not in {members(which)['version']}: {faults}"
    assert len(touches()) > 60  # the walker did see the module


@pytest.mark.parametrize("which", list(VERSIONS))
def test_what_only_rtx_has_is_declared(which: str) -> None:
    assert missing(which) == ONLY_RTX


def test_rtx_lacks_nothing() -> None:
    assert missing("rtx") == set()


@pytest.mark.parametrize(("which", "major"), VERSIONS.items())
def test_the_version_is_the_pinned_one(which: str, major: int) -> None:
    (version,) = members(which)["version"]
    assert version.startswith(which + ".")
    assert int(version.split(".")[0]) == major


@pytest.mark.parametrize("which", list(VERSIONS))
def test_the_api_loads_over_the_bindings_and_asks_the_driver_first(which: str) -> None:
    """TensorRT's own answer without a GPU is a null pointer; ours is a reason."""
    try:
        source = prepare(which)
    except UnavailableError as error:
        pytest.skip(str(error))
    source += (
        "import runtime.cuda_driver as driver\n"
        "driver.LIBRARY = 'libcuda-of-no-machine.so.1'\n"
        "from pathlib import Path\n"
        "from runtime.errors import EngineError\n"
        "from runtime.tensorrt_api import Flavour, load\n"
        "api = load(Flavour.TENSORRT)\n"
        "print(api.title)\n"
        "for act in (lambda: api.parse(Path('x.onnx')), lambda: api.deserialize(b'x')):\n"
        "    try: act()\n"
        "    except EngineError as error: print(error.what, '|', error.why)\n"
    )
    title, parse, deserialize = run(source).splitlines()
    assert title.startswith(f"TensorRT {which}.")
    assert "needs an NVIDIA GPU | there is no NVIDIA driver" in parse
    assert "needs an NVIDIA GPU | there is no NVIDIA driver" in deserialize


def test_nothing_else_imports_tensorrt() -> None:
    offenders = []
    for package in ("zoo", "export", "runtime", "weights", "benchmarks"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                else:
                    continue
                tops = {name.split(".")[0] for name in names}
                if node_is_tensorrt(tops) and path != MODULE_PATH:
                    offenders.append(str(path.relative_to(CHECKOUT)))
    assert not offenders


def node_is_tensorrt(tops: set[str]) -> bool:
    return any(
        top == flavour or top.startswith(flavour + "_") for top in tops for flavour in FLAVOURS
    )


HEADER = """
from __future__ import annotations
from typing import TYPE_CHECKING
from types import ModuleType
if TYPE_CHECKING:
    from tensorrt import Builder, ILayer
"""


@pytest.mark.parametrize(
    "body",
    [
        "def f(builder): builder.reset()",
        "def f(trt: ModuleType):\n    b = trt.Builder(0).create_network(1)\n    b.num_layers",
        "def f(layer: ILayer): return layer.get_output(0).dtype",
        "def f(layers: list[ILayer]): return [x.name for x in layers]",
        "def f(layers: list[ILayer]): return layers[0].name",
        "def f(layer: ILayer): return getattr(layer, 'name')",
        "class A:\n    def __init__(self, b: Builder):\n        self.n = b.create_network(1)\n"
        "    def f(self): return self.n.name",
    ],
)
def test_the_walker_refuses_what_it_cannot_resolve(body: str) -> None:
    with pytest.raises(UnresolvedError):
        touched(HEADER + body)


def test_the_walker_sees_attributes_wherever_they_are() -> None:
    source = HEADER + (
        "class Flavour: pass\n"
        "class A:\n"
        "    def __init__(self, b: Builder) -> None:\n"
        "        self.b: Builder = b\n"
        "        self.c = b\n"
        "    def f(self, flavour, trt: ModuleType, *, layer: ILayer | None) -> Builder:\n"
        "        self.b.reset()\n"
        "        if flavour is Flavour.TENSORRT_RTX:\n"
        "            self.c.max_threads = 3\n"
        "        else:\n"
        "            trt.DataType.HALF\n"
        "        return layer.name\n"
        "    def g(self) -> None: self.f(1, 2, layer=3).logger\n"
        "def h(trt: ModuleType):\n"
        "    class M(trt.IProfiler):\n"
        "        def report_layer_time(self): pass\n"
    )
    rtx, proper = frozenset({"tensorrt_rtx"}), frozenset({"tensorrt"})
    assert {(t.owner, t.attribute, t.flavours) for t in touched(source)} == {
        ("Builder", "reset", FLAVOURS),
        ("Builder", "max_threads", rtx),
        (MODULE, "DataType", proper),
        ("DataType", "HALF", proper),
        ("ILayer", "name", FLAVOURS),
        ("Builder", "logger", FLAVOURS),
        (MODULE, "IProfiler", FLAVOURS),
        ("IProfiler", "report_layer_time", FLAVOURS),
    }


def test_the_guarded_code_is_all_the_flavour_code_there_is() -> None:
    """Names of one flavour are met nowhere but in the module that the walker reads."""
    words = {"ComputeCapability", "CudaGraphStrategy", "IRuntimeCache", "create_runtime_cache"}
    for path in sorted((CHECKOUT / "runtime").rglob("*.py")):
        if path != MODULE_PATH:
            text = Path(path).read_text()
            assert not [word for word in words if word in text], path
