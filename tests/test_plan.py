"""Real plans of TensorRT-RTX, built without a GPU from graphs of a few nodes."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.plan import build_plan, choose_flavour, count_layers
from runtime import cuda_driver, tensorrt_api
from runtime.batch import BatchProfile
from runtime.errors import EngineError, ExportError, MissingPackageError
from runtime.tensorrt_api import Flavour, load

CHECKOUT = Path(__file__).resolve().parents[1]

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed (extra 'rtx')",
)

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def tiny(
    path: Path, conv: int = HALF, dense: int = HALF, *, layout: str = "cast first", **changes: str
) -> Path:
    """A detector of the engine contract, [N, 16, 16, 3]: convolution, pool, dense layer.

    Args:
        conv, dense: types in which the convolution and the dense layer compute.
        layout: "cast first", or "transpose first", which TensorRT cannot build.
        changes: operator of a named node, as ``relu="Foo"``.
    """
    generator = np.random.default_rng(0)

    def weights(name: str, shape: tuple[int, ...], kind: int) -> onnx.TensorProto:
        values = 0.1 * generator.standard_normal(shape)
        dtype = np.float16 if kind == HALF else np.float32
        return numpy_helper.from_array(values.astype(dtype), name)

    if layout == "cast first":
        head = [
            helper.make_node("Cast", ["frames"], ["cast_out"], name="cast", to=conv),
            helper.make_node(
                "Transpose", ["cast_out"], ["chw"], name="transpose", perm=[0, 3, 1, 2]
            ),
        ]
    else:
        head = [
            helper.make_node(
                "Transpose", ["frames"], ["bytes"], name="transpose", perm=[0, 3, 1, 2]
            ),
            helper.make_node("Cast", ["bytes"], ["chw"], name="cast", to=conv),
        ]
    nodes = [
        *head,
        helper.make_node("Conv", ["chw", "w"], ["conv_out"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv_out"], ["relu_out"], name="relu"),
        helper.make_node("GlobalAveragePool", ["relu_out"], ["gap_out"], name="gap"),
        helper.make_node("Flatten", ["gap_out"], ["flat"], name="flatten"),
        helper.make_node("Cast", ["flat"], ["flat_cast"], name="cast_dense", to=dense),
        helper.make_node("MatMul", ["flat_cast", "d"], ["column"], name="dense"),
        helper.make_node("Cast", ["column"], ["column32"], name="cast_out", to=FLOAT),
        helper.make_node("Reshape", ["column32", "one_axis"], ["logit"], name="reshape"),
        helper.make_node("Sigmoid", ["logit"], ["fake"], name="sigmoid"),
    ]
    for node in nodes:
        node.op_type = changes.get(node.name, node.op_type)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info(name, FLOAT, ["N"]) for name in ("logit", "fake")],
        [
            weights("w", (4, 3, 3, 3), conv),
            weights("d", (4, 1), dense),
            numpy_helper.from_array(np.array([-1], np.int64), "one_axis"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a driver, wherever the tests run."""
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-of-no-machine.so.1")


# The profile of batch sizes


def test_a_profile_is_read_and_written() -> None:
    profile = BatchProfile.parse("2:8:64")
    assert (profile.minimum, profile.optimum, profile.maximum) == (2, 8, 64)
    assert str(profile) == "2:8:64"
    assert str(BatchProfile()) == "1:32:256"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "1:8",
        "1:2:3:4",
        "a:b:c",
        "1:8:",
        "-1:8:9",
        "+1:8:9",
        " 1:8:9",
        "1_0:20:30",
        "1:8.5:9",
        "0:8:64",
        "9:8:64",
        "1:65:64",
        "0:0:0",
    ],
)
def test_a_bad_profile_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="1:32:256"):
        BatchProfile.parse(text)


# What is built


@needs_rtx
def test_an_fp16_plan_is_built_and_proved(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.fp16.onnx")
    built = build_plan(path, builder="tensorrt_rtx", batch=BatchProfile(1, 4, 8), expect_fp16=True)
    assert built.flavour == "tensorrt_rtx"
    assert built.version == load(Flavour.TENSORRT_RTX).version
    assert built.profile == BatchProfile(1, 4, 8)
    assert built.targets == ()
    assert built.layers["CONVOLUTION HALF"] == 1
    assert built.layers["MATRIX_MULTIPLY HALF"] == 1
    assert not {"CONVOLUTION FLOAT", "MATRIX_MULTIPLY FLOAT"} & set(built.layers)
    assert built.seconds > 0
    # Pure: TensorRT's own mark stands at the front, nothing before it.
    assert built.plan[1:4] == b"trt"
    assert len(built.plan) > 10_000


@needs_rtx
def test_an_fp32_plan_is_built_and_is_another(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx", FLOAT, FLOAT)
    built = build_plan(path, builder="tensorrt_rtx", expect_fp16=False)
    assert built.layers["CONVOLUTION FLOAT"] == 1
    assert not [name for name in built.layers if "HALF" in name]


@needs_rtx
def test_an_fp32_graph_is_no_fp16_plan(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx", FLOAT, FLOAT)
    with pytest.raises(ExportError, match="none of its 2 compute layers gives HALF"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)
    # Nor does it become one by allowing every layer to stay.
    with pytest.raises(ExportError, match="is not in half precision"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True, keep_fp32=["conv", "dense"])


@needs_rtx
def test_a_layer_left_in_fp32_is_named_unless_allowed(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx", HALF, FLOAT)
    with pytest.raises(ExportError, match=r"1 of 2 .*: 'dense' \(MATRIX_MULTIPLY FLOAT\)"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)
    with pytest.raises(ExportError, match="'dense'"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True, keep_fp32=["conv"])
    built = build_plan(path, builder="tensorrt_rtx", expect_fp16=True, keep_fp32=["dense"])
    assert built.layers["MATRIX_MULTIPLY FLOAT"] == 1


@needs_rtx
def test_targets_are_set_or_refused(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    plain = build_plan(path, builder="tensorrt_rtx", expect_fp16=True)
    both = build_plan(path, builder="tensorrt_rtx", expect_fp16=True, targets=["7.5", "8.9"])
    assert both.targets == ("7.5", "8.9")
    assert both.plan != plain.plan
    with pytest.raises(ExportError, match=r"'9\.0'[\s\S]*8\.9"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True, targets=["9.0"])


@needs_rtx
def test_workspace_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorrt_rtx as trt

    limits = []
    original = trt.IBuilderConfig.set_memory_pool_limit

    def recorded(config: object, pool: object, size: int) -> None:
        original(config, pool, size)
        limits.append((pool, config.get_memory_pool_limit(pool)))  # type: ignore[attr-defined]

    monkeypatch.setattr(trt.IBuilderConfig, "set_memory_pool_limit", recorded)
    path = tiny(tmp_path / "tiny.onnx")
    build_plan(path, builder="tensorrt_rtx", expect_fp16=True, workspace=1 << 28)
    assert limits == [(trt.MemoryPoolType.WORKSPACE, 1 << 28)]


# What is refused


@needs_rtx
@pytest.mark.parametrize(
    ("before", "after"),
    [("frames", "images"), ("logit", "score"), ("fake", "probability")],
)
def test_other_names_are_refused(tmp_path: Path, before: str, after: str) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    model = onnx.load(path)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [after if name == before else name for name in names]
    for value in (*model.graph.input, *model.graph.output):
        value.name = after if value.name == before else value.name
    onnx.save(model, path)
    with pytest.raises(ExportError, match=f"not of the engine contract[\\s\\S]*{after}"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)


def edit_input(model: onnx.ModelProto, kind: int, shape: list[str | int]) -> None:
    value = helper.make_tensor_value_info("frames", kind, shape)
    model.graph.input[0].CopyFrom(value)


@needs_rtx
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (FLOAT, ["N", 16, 16, 3]),
        (TensorProto.UINT8, [4, 16, 16, 3]),
        (TensorProto.UINT8, ["N", "H", "W", 3]),
    ],
    ids=["float", "fixed batch", "dynamic size"],
)
def test_another_input_is_refused(tmp_path: Path, kind: int, shape: list[str | int]) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    model = onnx.load(path)
    edit_input(model, kind, shape)
    onnx.save(model, path)
    with pytest.raises(ExportError, match="not of the engine contract"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)


@needs_rtx
def test_a_further_output_is_refused(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("column32", FLOAT, ["N", 1]))
    onnx.save(model, path)
    with pytest.raises(ExportError, match="column32"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)


@needs_rtx
def test_half_precision_outputs_are_refused(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    model = onnx.load(path)
    (cast,) = (node for node in model.graph.node if node.name == "cast_out")
    cast.attribute[0].i = HALF
    for value in model.graph.output:
        value.type.tensor_type.elem_type = HALF
    onnx.save(model, path)
    with pytest.raises(ExportError, match="out logit HALF"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)


@needs_rtx
def test_bytes_may_feed_a_cast_only(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx", layout="transpose first")
    with pytest.raises(ExportError, match=r"(?s)transpose.*(UInt8|Cast)"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)


@needs_rtx
def test_the_parsers_words_are_told(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx", relu="Foo")
    with pytest.raises(ExportError) as caught:
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)
    assert str(path) in caught.value.what
    assert "node 'relu' (Foo)" in caught.value.why
    assert "Plugin not found" in caught.value.why


@needs_rtx
def test_the_missing_driver_is_no_reason_of_the_parser(tmp_path: Path, no_driver: None) -> None:
    path = tiny(tmp_path / "tiny.onnx", layout="transpose first")
    with pytest.raises(ExportError) as caught:
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)
    assert "UInt8" in caught.value.why
    assert "driver" not in caught.value.why


@needs_rtx
def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is no ONNX")
    with pytest.raises(ExportError, match=r"cannot read .*text\.onnx"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=False)
    whole = tiny(tmp_path / "tiny.onnx").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=r"cannot read .*text\.onnx"):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=False)
    with pytest.raises(ExportError, match="is not a file"):
        build_plan(tmp_path / "none.onnx", builder="tensorrt_rtx", expect_fp16=False)


# Progress, logs and caches


@needs_rtx
def test_progress_grows_to_the_end(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    calls: list[tuple[float, str]] = []
    build_plan(
        path,
        builder="tensorrt_rtx",
        expect_fp16=True,
        progress=lambda fraction, phase: calls.append((fraction, phase)),
    )
    fractions = [fraction for fraction, _ in calls]
    assert len(set(fractions)) > 10
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert fractions[-1] == 1.0
    assert all(phase for _, phase in calls)


@needs_rtx
@pytest.mark.parametrize("error", [RuntimeError("a display broke"), KeyboardInterrupt()])
def test_an_exception_in_progress_stops_the_build(tmp_path: Path, error: BaseException) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    calls = 0

    def progress(fraction: float, phase: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error

    with pytest.raises(type(error)) as caught:
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True, progress=progress)
    assert caught.value is error
    assert calls == 3


@needs_rtx
def test_an_interrupt_in_the_log_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    api = load(Flavour.TENSORRT_RTX)
    network = api.parse(path)

    messages: list[str] = []

    def interrupted(level: int, template: str, message: str) -> None:
        messages.append(message)
        raise KeyboardInterrupt

    monkeypatch.setattr(logging.getLogger("runtime.tensorrt"), "log", interrupted)
    shapes = ((1, 16, 16, 3),) * 3
    with pytest.raises(KeyboardInterrupt):
        network.build({"frames": shapes})
    assert messages
    assert not [m for m in messages if "Engine generation completed" in m]  # stopped before


@needs_rtx
def test_rtx_leaves_the_timing_cache_alone(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    cache = tmp_path / "timing.cache"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its timing cache is deprecated and does nothing
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True, timing_cache=cache)
    assert not cache.exists()


@needs_rtx
def test_nothing_is_printed(tmp_path: Path) -> None:
    """TensorRT's own words go to `logging`, and are silent until somebody listens."""
    tiny(tmp_path / "bad.onnx", relu="Foo")
    source = f"""
        from pathlib import Path
        from export.plan import build_plan
        from runtime.errors import ExportError
        path = Path({str(tmp_path / "bad.onnx")!r})
        try: build_plan(path, builder="tensorrt_rtx", expect_fp16=True)
        except ExportError: print("refused")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")


@needs_rtx
def test_what_tensorrt_says_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tiny(tmp_path / "bad.onnx", relu="Foo")
    with caplog.at_level(logging.WARNING, "runtime.tensorrt"), pytest.raises(ExportError):
        build_plan(path, builder="tensorrt_rtx", expect_fp16=True)
    assert "Plugin not found" in caplog.text


# Which library


@needs_rtx
def test_auto_takes_rtx_where_there_is_no_gpu(no_driver: None) -> None:
    assert choose_flavour("auto").flavour is Flavour.TENSORRT_RTX


@pytest.mark.parametrize("builder", ["auto", "tensorrt", "tensorrt_rtx"])
def test_without_a_library_the_extra_is_named(
    builder: str, no_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    tensorrt_api.load.cache_clear()
    extra = "tensorrt" if builder == "tensorrt" else "rtx"
    with pytest.raises(MissingPackageError, match=rf"deepfake-zoo\[{extra}\]"):
        choose_flavour(builder)  # type: ignore[arg-type]
    reasons = {a.flavour: a.reason for a in tensorrt_api.available()}
    assert "not installed" in reasons[Flavour.TENSORRT]
    assert "not installed" in reasons[Flavour.TENSORRT_RTX]
    tensorrt_api.load.cache_clear()


def fake_module(path: Path, name: str, source: str) -> None:
    (path / f"{name}.py").write_text(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import ctypes; ctypes.CDLL('libnvinfer-of-no-machine.so.10')", "libnvinfer-of-no"),
        ("import tensorrt_bindings_of_no_machine", "tensorrt_bindings_of_no_machine"),
        (
            "__version__ = '8.6.1'\n"
            "class Logger: INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)\n"
            "class ILogger: pass",
            "10.16 is the oldest",
        ),
    ],
    ids=["no library", "half installed", "too old"],
)
def test_a_library_that_cannot_be_used_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    fake_module(tmp_path, "tensorrt", source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    tensorrt_api.load.cache_clear()
    with pytest.raises(EngineError, match=reason):
        load(Flavour.TENSORRT)
    (found,) = (a for a in tensorrt_api.available() if a.flavour is Flavour.TENSORRT)
    assert found.version is None
    assert reason in found.reason
    sys.modules.pop("tensorrt", None)
    tensorrt_api.load.cache_clear()


# Running


@needs_rtx
def test_a_plan_without_a_driver_says_so(tmp_path: Path, no_driver: None) -> None:
    built = build_plan(tiny(tmp_path / "t.onnx"), builder="tensorrt_rtx", expect_fp16=True)
    with pytest.raises(EngineError, match="needs an NVIDIA GPU") as caught:
        load(Flavour.TENSORRT_RTX).deserialize(built.plan)
    assert "no NVIDIA driver" in caught.value.why
    assert ".onnx" in caught.value.todo


@needs_rtx
def test_a_plan_that_does_not_load_gives_tensorrts_words(monkeypatch: pytest.MonkeyPatch) -> None:
    device = cuda_driver.Device(0, "a GPU", "8.9", 1 << 33)
    driver = cuda_driver.Driver((device,), "13.0", "")
    monkeypatch.setattr(tensorrt_api, "query_driver", lambda: driver)
    with pytest.raises(EngineError, match="cannot load the plan") as caught:
        load(Flavour.TENSORRT_RTX).deserialize(b"no plan" * 100)
    assert len(caught.value.why) > 20
    assert "no reason" not in caught.value.why


def test_layers_are_counted_by_type_and_dtype() -> None:
    layer = tensorrt_api.LayerInfo("a", "a", "CONVOLUTION", ("x",), ("HALF",))
    other = tensorrt_api.LayerInfo("b", "", "ASSERTION", ("x",), ())
    assert count_layers([layer, other, layer]) == {"ASSERTION": 1, "CONVOLUTION HALF": 2}


def test_the_timing_cache_is_read_and_written_whole(tmp_path: Path) -> None:
    from export.plan import _read_cache, _write_cache

    path = tmp_path / "folder" / "timing.cache"
    assert _read_cache(None) is None
    assert _read_cache(path) == b""
    _write_cache(path, b"measured")
    assert _read_cache(path) == b"measured"
    assert os.listdir(path.parent) == ["timing.cache"]
    with pytest.raises(ExportError, match="timing cache"):
        _read_cache(tmp_path)
