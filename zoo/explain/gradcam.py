"""Grad-CAM (Selvaraju et al. 2017) on an original, in its own framework.

The feature map is the last one that still has places: what all later layers see. Its
gradients are not averaged over the places (HiResCAM, Draelos & Carin 2020): where the
network averages its features that makes no difference, and where it flattens them, as the
MesoNets and VGG do, averaging shows places that the network does not go by. The map is not
cut off at zero: its negative part is what speaks for "real".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.card import Head
from zoo.originals import Original


def gradcam_heat(original: Original, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grad-CAM for the log-odds of "fake".

    Args:
        original: the network.
        frame: uint8 [H, W, 3].

    Returns:
        float32 [H, W], enlarged from the feature map; above 0 speaks for "fake".
    """
    values = original.normalise(frame[None])
    if original.card.framework == "keras":
        features, gradients = _keras_gradients(original, values)
    else:
        features, gradients = _torch_gradients(original, values)
    return _enlarged((features * gradients).sum(axis=-1), frame.shape[0], frame.shape[1])


def _keras_gradients(
    original: Original, values: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Feature map and gradient of the log-odds of fake, both [h, w, channels]."""
    import tensorflow as tf

    from zoo.originals.keras_flat import made_by
    from zoo.originals.keras_framework import import_keras
    from zoo.originals.keras_head import ending

    keras, model = import_keras(), original.module
    head, flat, _ = ending(model)
    spatial = flat
    while len(spatial.shape) != 4 or spatial.shape[1] == 1:
        _, (spatial, *_) = made_by(spatial)
    two_ended = keras.Model(model.inputs, [spatial, flat])
    kernel, *bias = head.get_weights()
    inputs = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(inputs)  # and with it all that follows: the weights may be frozen
        features, last = two_ended(inputs, training=False)
        logit = _fake_logit(original.head, last @ kernel + (bias[0] if bias else 0))
    return features[0].numpy(), tape.gradient(logit, features)[0].numpy()


def _torch_gradients(
    original: Original, values: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same in torch."""
    import torch

    maps: list[Any] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[2] > 1:
            maps.append(output)

    hooks = [module.register_forward_hook(keep) for module in original.module.modules()]
    try:
        with torch.enable_grad():
            inputs = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
            logits = original.module(inputs.requires_grad_())
            (gradient,) = torch.autograd.grad(_fake_logit(original.head, logits), maps[-1])
    finally:
        for hook in hooks:
            hook.remove()
    features = maps[-1].detach()
    return features[0].permute(1, 2, 0).numpy(), gradient[0].permute(1, 2, 0).numpy()


def _fake_logit(head: Head, logits: Any) -> Any:
    """Log-odds of fake of one frame, from a tensor [1, 1] or [1, 2] before the activation."""
    if head.outputs == 1:
        return logits[0, 0] if head.says == "fake" else -logits[0, 0]
    assert head.fake_index is not None, "settled when the original was loaded"
    return logits[0, head.fake_index] - logits[0, 1 - head.fake_index]


def _enlarged(heat: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    from PIL import Image

    image = Image.fromarray(heat.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32)
