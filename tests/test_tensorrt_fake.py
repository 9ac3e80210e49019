"""The stand-in for TensorRT has nothing that NVIDIA's bindings have not."""

from __future__ import annotations

import enum
import importlib.util
import inspect
import json

import pytest
from fakes.cuda import FakeCuda
from fakes.tensorrt import classes
from trt_stub.bindings import VERSIONS, UnavailableError, prepare, run

#: Arguments in front of which pybind11's signatures have no name worth comparing.
_UNNAMED = {("Runtime", "__init__"), ("ILogger", "__init__"), ("ILogger", "log")}


def surface(rtx: bool) -> dict[str, dict[str, list[str]]]:
    """Class to attribute to its arguments' names, of all that the stand-in offers."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, kind in classes(FakeCuda(), rtx=rtx).items():
        attributes = {}
        members = kind.__members__ if issubclass(kind, enum.Enum) else vars(kind)
        for attribute, value in members.items():
            if not attribute.startswith("_"):
                called = inspect.isfunction(value) and (name, attribute) not in _UNNAMED
                arguments = list(inspect.signature(value).parameters)[1:] if called else []
                attributes[attribute] = arguments
        found[name] = attributes
    return found


@pytest.mark.parametrize("which", [*VERSIONS, "rtx"])
def test_the_stand_in_is_part_of_the_real_thing(which: str) -> None:
    rtx = which == "rtx"
    if rtx:
        if importlib.util.find_spec("tensorrt_rtx") is None:
            pytest.skip("tensorrt_rtx is not installed (extra 'rtx')")
        source = "import tensorrt_rtx as trt\n"
    else:
        try:
            source = prepare(which) + "import tensorrt as trt\n"
        except UnavailableError as error:
            pytest.skip(str(error))
    mine = surface(rtx)
    source += (
        f"import json\nmine = {mine!r}\n"
        "wrong = []\n"
        "for name, attributes in mine.items():\n"
        "    for attribute, arguments in attributes.items():\n"
        "        real = getattr(getattr(trt, name, None), attribute, None)\n"
        "        if real is None: wrong.append(f'{name}.{attribute}')\n"
        "        for argument in arguments:\n"
        "            if f'{argument}: ' not in (real.__doc__ or ''):\n"
        "                wrong.append(f'{name}.{attribute}({argument})')\n"
        "print(json.dumps(wrong))\n"
    )
    assert sum(map(len, mine.values())) > 30
    assert json.loads(run(source)) == []
