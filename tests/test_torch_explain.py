"""Grad-CAM on originals in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.catalog import find_card
from zoo.explain.gradcam import _torch_gradients, gradcam_heat
from zoo.noise import seeded_frames
from zoo.originals import load_original
from zoo.recipe import Said

pytest.importorskip("torchvision", reason="torchvision is not installed (extra: torch)")


@pytest.mark.parametrize("fake_index", [0, 1])
def test_gradcam_accounts_for_the_logit_of_resnet18(fake_index: int) -> None:
    """It averages its last features and is linear behind: heat and bias make the logit."""
    original = load_original(
        find_card("resnet18"), "random", seed=3, said=Said(fake_index=fake_index)
    )
    (frame,) = seeded_frames(1, 224, 224, 8)
    features, gradients = _torch_gradients(original, original.normalise(frame[None]))
    assert features.shape == gradients.shape == (7, 7, 512)
    # Averaged features: every place has the same gradient, and Grad-CAM is HiResCAM.
    np.testing.assert_allclose(gradients, np.broadcast_to(gradients[0, 0], gradients.shape))
    bias = original.module.fc.bias.numpy()
    due = original.scores(frame[None]).logit[0] - (bias[fake_index] - bias[1 - fake_index])
    assert (features * gradients).sum() == pytest.approx(due, abs=1e-4)
    assert gradcam_heat(original, frame).shape == (224, 224)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"), [("inception_v3", 2048), ("inception_resnet_v1", 1792)]
)
def test_the_last_map_with_places_is_the_whole_one(name: str, channels: int) -> None:
    """Not one branch of the last block."""
    original = load_original(find_card(name), "random", seed=3)
    how = original.preprocessing
    (frame,) = seeded_frames(1, how.height, how.width, 8)
    features, gradients = _torch_gradients(original, original.normalise(frame[None]))
    assert features.shape[2] == channels
    assert np.abs(gradients).max() > 0
