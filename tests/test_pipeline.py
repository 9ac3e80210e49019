"""The whole line on seeded weights: what it leaves on disk, and what it never leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from export import pipeline
from export.pipeline import ExportRequest, export_network
from export.staging import staging
from export.steps import steps_of
from export.verify import verify_engine
from runtime import Detector, EngineInfo
from runtime.backends import onnxruntime
from runtime.batch import BatchProfile
from runtime.engine_info import METADATA_KEY, file_sha256
from runtime.errors import EngineError, ExportError
from runtime.faces import FaceCrop
from zoo.catalog import find_card
from zoo.noise import seeded_frames
from zoo.recipe import resolve

RTX = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Meso4 with seeded weights through the whole line, FP16 and plan."""
    out = tmp_path_factory.mktemp("engines")
    steps: list[str] = []
    result = export_network(
        ExportRequest(
            find_card("meso4"),
            "random",
            seed=3,
            out=out,
            fp16=True,
            builder="tensorrt_rtx",
            batch=BatchProfile(1, 4, 16),
        ),
        lambda title, seconds: steps.append(title) if seconds is None else None,
    )
    return out, result, steps


def test_four_files_and_nothing_else(exported):
    out, result, _ = exported
    names = [f"meso4-random{suffix}" for suffix in (".onnx", ".fp16.onnx", ".plan", ".json")]
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    assert [p.name for p in result.files] == names


@pytest.mark.parametrize("suffix", [".onnx", ".fp16.onnx"])
def test_many_threads_get_the_scores_of_one_to_the_last_bit(exported, suffix, monkeypatch):
    """Though a core each judges image by image what one call judges four at a time."""
    monkeypatch.setattr(onnxruntime, "count_cores", lambda: 2)
    frames = seeded_frames(13, 256, 256, 5)
    with Detector(exported[0] / f"meso4-random{suffix}") as detector:
        due = detector.infer(frames)
        assert due[0].std() > 0.1
        crowded = detector._backend._cores._crowded
        np.testing.assert_array_equal(crowded(frames), due)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(detector.infer, [frames] * 16):
                np.testing.assert_array_equal(found, due)


def test_every_step_was_reported_and_is_what_a_dry_run_tells(exported):
    reported = exported[2]
    assert len(reported) == 7
    assert reported == [step.title for step in steps_of(request(Path(), builder="tensorrt_rtx"))]


def test_the_builder_s_progress_is_passed_on_and_only_grows(tmp_path):
    seen: list[float] = []
    export_network(
        request(tmp_path, fp16=False, builder="tensorrt_rtx"),
        progress=lambda fraction, phase: seen.append(fraction),
    )
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_the_sidecar_tells_all(exported):
    out, result, _ = exported
    info = EngineInfo.from_json((out / "meso4-random.json").read_text(), "sidecar")
    assert info == result.info
    assert info.weights.trained is False
    assert info.weights.seed == 3
    for name, artefact in info.artefacts.items():
        assert artefact.sha256 == file_sha256(out / name)
        assert artefact.bytes == (out / name).stat().st_size
    assert {n: a.precision for n, a in info.artefacts.items()} == {
        "meso4-random.onnx": "fp32",
        "meso4-random.fp16.onnx": "fp16",
        "meso4-random.plan": "fp16",
    }
    assert info.builder is not None
    assert (info.builder.min_batch, info.builder.opt_batch, info.builder.max_batch) == (1, 4, 16)
    assert info.builder.layers["CONVOLUTION HALF"] == 4
    assert not any(k == "CONVOLUTION FLOAT" for k in info.builder.layers)
    assert info.certificate is not None
    assert info.certificate["passed"] is True
    assert info.made_with["tensorflow"]


def test_what_could_not_be_checked_is_unchecked(exported):
    from runtime.cuda_driver import query_driver

    if query_driver().devices:
        pytest.skip("here is a GPU: the plan is checked")
    certificate = exported[1].certificate
    assert set(certificate.unchecked) == {"meso4-random.plan"}
    assert all(c.engine != "meso4-random.plan" for c in certificate.comparisons)


def test_the_graph_is_as_small_as_it_can_be(exported):
    import onnx

    graph = onnx.load(exported[0] / "meso4-random.onnx").graph
    ops = [node.op_type for node in graph.node]
    assert ops.count("Conv") == 4
    assert ops.count("Add") == 3, "a shift behind each pool but the last"
    assert ops.count("Transpose") == 1
    assert not {"Mul", "BatchNormalization", "Shape", "Gather", "Cast"} & set(ops[1:])


def test_the_metadata_lets_the_onnx_go_alone(exported, tmp_path):
    out, result, _ = exported
    alone = tmp_path / "renamed.onnx"
    alone.write_bytes((out / "meso4-random.onnx").read_bytes())
    frames = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    with Detector(alone) as one, Detector(out / "meso4-random.onnx") as other:
        assert one.info.weights == result.info.weights
        np.testing.assert_array_equal(one.score(frames), other.score(frames))
    meta = ort.InferenceSession(str(alone)).get_modelmeta().custom_metadata_map
    assert json.loads(meta[METADATA_KEY])["network"] == "meso4"


def test_a_plan_is_nothing_but_tensorrt_s_bytes(exported):
    """Metadata in front of them would break trtexec and Triton."""
    plan = (exported[0] / "meso4-random.plan").read_bytes()
    assert b"deepfake_zoo" not in plan[:4096]
    # the engine's own magic, as the builder gives it
    from runtime.tensorrt_api import Flavour, load

    network = load(Flavour.TENSORRT_RTX).parse(exported[0] / "meso4-random.fp16.onnx")
    frame = (256, 256, 3)
    shapes = {"frames": ((1, *frame), (4, *frame), (16, *frame))}
    assert network.build(shapes).plan[:16] == plan[:16]


def test_verify_finds_the_engine_good_and_a_changed_one_bad(exported, tmp_path):
    out, _, _ = exported
    assert verify_engine(out / "meso4-random.fp16.onnx").passed
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(out / "meso4-random.onnx")
    bias = next(t for t in proto.graph.initializer if t.name == "conv_1_bias")
    bias.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.05), bias.name)
    )
    changed = tmp_path / "changed.onnx"
    onnx.save(proto, changed)
    certificate = verify_engine(changed)
    assert not certificate.passed
    assert "max |dP|" in certificate.failures[0]


def test_verify_refuses_other_weights_than_those_inside(exported, tmp_path):
    from zoo.originals import load_original

    path = tmp_path / "other.weights.h5"
    load_original(find_card("meso4"), "random", seed=9).module.save_weights(path)
    with pytest.raises(EngineError, match="not the weights"):
        verify_engine(exported[0] / "meso4-random.onnx", weights=str(path))


def request(out: Path, **changes) -> ExportRequest:
    base = ExportRequest(find_card("meso4"), "random", out=out, fp16=True, builder="none")
    return replace(base, **changes)


def test_a_failed_certificate_leaves_no_engine(tmp_path, monkeypatch):
    real = pipeline.to_verified_half

    def broken(proto, *rest):
        half, kept = real(proto, *rest)
        from onnx import numpy_helper

        for tensor in half.graph.initializer:
            if tensor.name == "gemm_2_bias_half":
                tensor.CopyFrom(
                    numpy_helper.from_array(
                        numpy_helper.to_array(tensor) + np.float16(0.5), tensor.name
                    )
                )
        return half, kept

    monkeypatch.setattr(pipeline, "to_verified_half", broken)
    result = export_network(request(tmp_path))
    assert not result.certificate.passed
    assert any("meso4-random.fp16.onnx" in f for f in result.certificate.failures)
    assert result.files == []
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_older_engines_alone(tmp_path, monkeypatch):
    old = tmp_path / "meso4-random.onnx"
    old.write_bytes(b"an older engine")

    def fail(*_, **__):
        raise ExportError("half precision failed")

    monkeypatch.setattr(pipeline, "to_verified_half", fail)
    with pytest.raises(ExportError):
        export_network(request(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == [old.name]
    assert old.read_bytes() == b"an older engine"


_EXPORT = """
import sys
from pathlib import Path
from export.pipeline import ExportRequest, export_network
from runtime.faces import FaceCrop
from zoo.catalog import find_card
request = ExportRequest(
    find_card("meso4"), "random", out=Path(sys.argv[1]), fp16=True, builder="none"
)
def report(title, seconds):
    if seconds is None:
        print(title, flush=True)
        {action}
export_network(request, report)
"""


def run_export(out: Path, action: str, prelude: str = "") -> subprocess.Popen:
    code = prelude + _EXPORT.replace("{action}", action)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_kill_in_the_middle_leaves_nothing_under_a_final_name(tmp_path):
    child = run_export(tmp_path, "import time; time.sleep(60 if title == 'certificate' else 0)")
    for line in child.stdout:
        if line.strip() == "certificate":
            break
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    left = [p.name for p in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".exporting-"), "all there is, is the folder it was made in"
    # and the next export clears that away
    with staging(tmp_path, "other") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path):
    """A limit on the size of files stands in for the end of the disk."""
    prelude = "import resource\n"
    limit = (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"
        " if title.startswith('contract') else None"
    )
    child = run_export(tmp_path, limit, prelude)
    _, err = child.communicate(timeout=120)
    assert child.returncode != 0
    assert "ExportError" in err
    assert f"{tmp_path} cannot be written" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["/proc/zoo", "a_file/engines"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, out):
    (tmp_path / "a_file").write_text("x")
    folder = Path(out) if out.startswith("/") else tmp_path / out
    with pytest.raises(ExportError, match="cannot be written") as caught:
        export_network(request(folder))
    assert str(folder) in caught.value.what
    assert "--out" in caught.value.todo


def test_names_follow_the_weights():
    card = find_card("meso4")
    assert ExportRequest(card).stem == "meso4"
    assert ExportRequest(card, "df").stem == "meso4"
    assert ExportRequest(card, "f2f").stem == "meso4-f2f"
    assert ExportRequest(card, "/x/my_weights.h5").stem == "meso4-my_weights"
    assert ExportRequest(card, "f2f", name="n").files == ["n.onnx", "n.plan", "n.json"]


def test_half_precision_is_held_to_what_the_card_aims_for(tmp_path, monkeypatch):
    asked = []

    def judged(reference, frames, trained, within):
        asked.append(within)
        return lambda half: True

    monkeypatch.setattr(pipeline, "judge", judged)
    card = replace(find_card("meso4"), half_within=1e-3)
    export_network(ExportRequest(card, "random", fp16=True, builder="none", out=tmp_path))
    assert asked == [1e-3]


def test_the_sidecar_says_how_the_cards_faces_are_cut(tmp_path):
    crop = FaceCrop(align=False, margin=0.3)
    card = replace(find_card("meso4"), face_crop=crop)
    export_network(ExportRequest(card, "random", out=tmp_path, builder="none"), lambda *_: None)
    text = (tmp_path / "meso4-random.json").read_text()
    assert EngineInfo.from_json(text, "sidecar").face_crop == crop
    box = FaceCrop(align=False, margin=0.0, square=False)
    facenet = find_card("inception_resnet_v1")
    torchfakes = facenet.find_weights("torchfakes")
    assert resolve(facenet, published=torchfakes).face_crop == box
    assert resolve(facenet, file="mine.pth").face_crop == box
    assert resolve(find_card("meso4")).face_crop == FaceCrop()


@pytest.mark.weights
@pytest.mark.parametrize(("network", "weights"), [("meso4", "df"), ("mesoinception4", "f2f")])
def test_real_weights_keep_the_goldens_through_the_line(network, weights, tmp_path, afchar_images):
    card = find_card(network)
    result = export_network(request(tmp_path, card=card, weights=weights))
    assert result.certificate.passed
    own = card.find_weights(weights)
    for suffix, bar in ((".onnx", 1e-5), (".fp16.onnx", 5e-3)):
        with Detector(tmp_path / f"{ExportRequest(card, weights).stem}{suffix}") as detector:
            for verdict in detector.classify(afchar_images):
                golden = own.goldens[Path(verdict.source).name]
                assert 1 - verdict.fake == pytest.approx(golden, abs=bar)


def test_the_clock_of_every_step_is_kept(exported):
    assert all(s >= 0 for s in exported[1].seconds.values())
    assert set(exported[1].seconds) == set(exported[2])
