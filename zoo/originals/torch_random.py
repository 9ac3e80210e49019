"""Random weights that say something: neither saturated, nor constant, nor exploding.

Default random weights show nothing: in eval mode, with the statistics of no data in its
BatchNorms, an InceptionV3 gives logits of 1e10. Here every layer is set from one batch
of seeded frames, as in data-dependent initialisation (Krähenbühl et al. 2015,
arXiv:1511.06856).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from zoo.originals.keras_original import RANDOM_LOGIT_SPREAD
from zoo.originals.torch_files import import_torch

#: Mean of a channel before its ReLU, where the standard deviation is 1, so that most values
#: pass. Centred at 0 a deep random network is chaotic: InceptionV3 turned rounding errors
#: into 5e-5 in probability, and VGG16's half precision was twice as far off.
_CENTRE = 1.0


def condition(module: Any, head: str, values: Any, seed: int) -> None:
    """Give a whole network conditioned random weights.

    BatchNorms take their statistics from the batch. Layers with a bias, which no
    BatchNorm follows, are scaled and shifted so that each channel has standard deviation 1
    over it, and mean 1 where a network has no BatchNorms at all; elsewhere, mean 0: they end
    the branches of residual blocks, whose means would pile up. The head comes last, see
    `condition_head`.

    Args:
        module: on the CPU; it is left in eval mode.
        head: name of its last Linear.
        values: calibration batch, float32 [N, 3, H, W], normalised.
        seed: of the weights.
    """
    torch = import_torch()
    nn = torch.nn
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    normalised = any(isinstance(layer, norms) for layer in module.modules())
    standardise = partial(_standardise, centre=0.0 if normalised else _CENTRE)
    generator = torch.Generator().manual_seed(seed)
    module.eval()
    momenta: dict[Any, Any] = {}
    hooks = []
    with torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
                    if name != head:
                        hooks.append(layer.register_forward_hook(standardise))
            elif isinstance(layer, norms):
                # Not 1 and 0: folding a neutral BatchNorm would show nothing.
                layer.weight.uniform_(0.8, 1.2, generator=generator)
                layer.bias.normal_(_CENTRE, 0.1, generator=generator)
                layer.reset_running_stats()
                momenta[layer] = layer.momentum
                layer.momentum = None  # the mean over all batches, of which there is one
                layer.train()
    condition_head(module, head, values, seed)
    for layer, momentum in momenta.items():
        layer.momentum = momentum
    for hook in hooks:
        hook.remove()
    module.eval()


def _standardise(layer: Any, inputs: Any, output: Any, *, centre: float) -> Any:
    """Forward hook: give every channel this mean and standard deviation 1 on this batch."""
    axes = [axis for axis in range(output.ndim) if axis != 1]
    mean, std = output.mean(axes), output.std(axes).clamp_min(1e-6)
    layer.weight.div_(std.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.sub_(mean).div_(std).add_(centre)
    shape = [1, -1, *[1] * (output.ndim - 2)]
    return (output - mean.reshape(shape)) / std.reshape(shape) + centre


def condition_head(module: Any, head: str, values: Any, seed: int) -> None:
    """Give the last Linear random weights whose logits are centred and of useful spread.

    Args:
        module, head, values, seed: see `condition`.
    """
    torch = import_torch()
    linear = module.get_submodule(head)
    seen: list[Any] = []
    hook = linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        module(values)
        hook.remove()
        generator = torch.Generator().manual_seed(seed)
        kernel = torch.randn(linear.weight.shape, dtype=torch.float64, generator=generator)
        logits = seen[0].double() @ kernel.T
        # Of a two-way head the difference is what counts.
        judged = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        scale = RANDOM_LOGIT_SPREAD / judged.std().clamp_min(1e-12)
        linear.weight.copy_(kernel * scale)
        linear.bias.copy_(-logits.mean(0) * scale)
