"""What a search for nodes in FP32 is judged by: strictly, and on varied frames."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from test_keep_fp32 import FRAMES, overflowing

from export import half_judge
from export.certificate import FP16_BAR, compare
from export.certify import emulated_scores
from export.half_judge import judge, search_judge
from export.keep_fp32 import to_verified_half
from export.samples import evenly
from export.varied import VARIATIONS, varied
from zoo.noise import seeded_frames
from zoo.originals import Scores
from zoo.scores import sigmoid

FACES = seeded_frames(3, 32, 32, 5)


def with_node(proto: onnx.ModelProto, after: str, op: str, by: float) -> onnx.ModelProto:
    """The same graph with ``op(value, by)`` in the place of the value ``after``."""
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    place = next(i for i, node in enumerate(found.graph.node) if node.output[0] == after)
    found.graph.node[place].output[0] = "before"
    changed = helper.make_node(op, ["before", "by"], [after], "changed")
    found.graph.node.insert(place + 1, changed)
    found.graph.initializer.append(numpy_helper.from_array(np.float32(by), "by"))
    return found


def test_a_search_asks_for_more_than_plain_half_precision_has_to_give(monkeypatch):
    monkeypatch.setattr(half_judge, "varied", lambda frames: frames[:0])
    proto = overflowing()
    due = emulated_scores(proto, FRAMES)
    lowest, second = np.sort(due.logit)[:2]
    off = with_node(proto, "logit", "Max", min(lowest + 0.018, (lowest + second) / 2))
    found = compare(due, emulated_scores(off, FRAMES), FP16_BAR, names=("", ""))
    assert 0.01 < found.max_logit < 0.05
    plain = judge(due, FRAMES, trained=True)
    strict = search_judge(proto, FRAMES, trained=True)
    assert plain(proto)
    assert strict(proto)
    assert plain(off)
    assert not strict(off)
    assert search_judge(proto, FRAMES, trained=False)(off), "untrained: no more is asked"


@pytest.mark.parametrize(("logit", "by"), [(4.9, 0.01), (5.1, 0.35)], ids=["logit", "P"])
def test_a_search_is_strict_in_the_logit_and_in_p(logit, by, monkeypatch):
    """Near certainty P hardly moves with the logit, and beyond, the logit has no bar."""
    right, off = np.zeros((2, 8), np.float32)
    right[0], off[0] = logit, logit + by
    said = {name: Scores(z, sigmoid(z)) for name, z in (("right", right), ("off", off))}
    monkeypatch.setattr(half_judge, "emulated_scores", lambda graph, frames: said[graph])
    strict = search_judge("right", FACES, trained=True)
    assert strict("right")
    assert not strict("off")
    assert judge(said["right"], FRAMES[:8], trained=True)("off")


def test_a_card_may_aim_for_less_than_the_certificate_asks(monkeypatch):
    proto = overflowing()
    due = emulated_scores(proto, FRAMES)
    off = Scores(due.logit, due.fake.copy())
    off.fake[3] += np.float32(0.003)
    monkeypatch.setattr(half_judge, "emulated_scores", lambda half, frames: off)
    assert judge(due, FRAMES, trained=True)(proto)
    assert judge(due, FRAMES, trained=True, within=0.007)(proto)
    assert not judge(due, FRAMES, trained=True, within=0.005)(proto)
    assert judge(due, FRAMES, trained=False, within=0.005)(proto), "untrained: it means nothing"


def test_the_varied_frames_are_judged_too():
    """A graph that is right on the frames and wrong on dark ones does not end a search."""
    proto = overflowing()
    bright = np.maximum(FRAMES, 200)
    strict = search_judge(proto, bright, trained=True)
    wrong_in_the_dark = with_node(proto, "x", "Max", 180)
    np.testing.assert_array_equal(
        emulated_scores(wrong_in_the_dark, bright).logit, emulated_scores(proto, bright).logit
    )
    assert strict(proto)
    assert not strict(wrong_in_the_dark)


def test_the_result_of_a_search_is_held_to_the_stricter_judge():
    proto, asked = overflowing(), []

    def never(half: onnx.ModelProto) -> bool:
        asked.append("plain")
        return False

    def strict(half: onnx.ModelProto) -> bool:
        asked.append("strict")
        return True

    to_verified_half(proto, never, lambda: strict)
    assert asked[0] == "plain", "plain half precision is tried first"
    assert set(asked[1:]) == {"strict"}


def test_a_search_that_nothing_passes_is_done_again_as_plain_half_precision_is_judged():
    proto = overflowing()
    passes = judge(emulated_scores(proto, FRAMES), FRAMES, trained=False)
    half, kept = to_verified_half(proto, passes, lambda: lambda half: False)
    assert passes(half)
    assert "conv_3" in kept


def test_nothing_is_varied_where_plain_half_precision_does():
    def search():
        raise AssertionError("no search is needed")

    to_verified_half(overflowing(), lambda half: True, search)


def test_frames_are_varied_in_every_way_and_each_way_shows():
    found = varied(FACES)
    assert found.shape == (len(FACES) * len(VARIATIONS), 32, 32, 3)
    assert found.dtype == np.uint8
    by_frame = found.reshape(len(FACES), len(VARIATIONS), 32, 32, 3).astype(int)
    for frame, versions in zip(FACES.astype(int), by_frame, strict=True):
        darker, brighter, flatter, harder, jpeg, blurred = versions
        assert darker.mean() < frame.mean() < brighter.mean()
        assert flatter.std() < frame.std() < harder.std()
        assert 5 < np.abs(jpeg - frame).mean() < 20
        assert np.abs(np.diff(blurred, axis=0)).mean() < np.abs(np.diff(frame, axis=0)).mean()
    np.testing.assert_array_equal(found, varied(FACES))


def test_no_frames_have_no_variations():
    assert varied(FACES[:0]).shape == (0, 32, 32, 3)


def test_frames_are_spread_over_all():
    assert evenly(100, 3).tolist() == [0, 49, 99]
    assert evenly(2, 3).tolist() == [0, 1]
