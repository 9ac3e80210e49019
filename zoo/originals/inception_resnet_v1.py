"""Inception-ResNet-v1 for faces, weight-compatible with facenet-pytorch 2.6.0.

Architecture: Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning, arXiv:1602.07261, in the variant of FaceNet's
TensorFlow port that facenet-pytorch's weights come from. The names of the parameters are
the contract; facenet-pytorch itself cannot be installed beside a current torch.

It ends in the head behind the normalised 512 features (``classify=True`` there). Its
dropout takes no part in judging and is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any

from runtime.errors import MissingPackageError
from zoo.card import ModelCard
from zoo.originals.original import WeightsChoice
from zoo.originals.torch_original import TorchNetwork, TorchOriginal, load_network

try:
    import torch
    from torch import nn
except ImportError:
    raise MissingPackageError("torch", "a PyTorch original", "torch") from None

#: Height and width of a kernel.
Kernel = tuple[int, int]
#: One convolution of a branch: kernel, output channels, stride. A stride of 2 is unpadded.
Step = tuple[Kernel, int, int]

_EPSILON = 1e-3  # of every BatchNorm, as in the TensorFlow original


def _convolution(
    channels: int, kernel: Kernel, outputs: int, stride: int = 1, padded: bool = True
) -> Any:
    """Convolution, BatchNorm, ReLU under the names ``conv`` and ``bn``."""
    padding = tuple(k // 2 for k in kernel) if padded else 0
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(channels, outputs, kernel, stride, padding, bias=False),
            bn=nn.BatchNorm2d(outputs, eps=_EPSILON),
            relu=nn.ReLU(),
        )
    )


def _branch(channels: int, steps: tuple[Step, ...]) -> Any:
    """Convolutions in a row; a single one is not numbered."""
    widths = [channels, *(outputs for _, outputs, _ in steps)]
    layers = [
        _convolution(before, kernel, outputs, stride, padded=stride == 1)
        for (before, _), (kernel, outputs, stride) in zip(pairwise(widths), steps, strict=True)
    ]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


class _Branches(nn.Module):  # type: ignore[misc]
    """Branches of the same input, called ``branch0``, ``branch1``, ..., concatenated."""

    def __init__(self, *branches: Any) -> None:
        super().__init__()
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)
        self._names = [f"branch{index}" for index in range(len(branches))]

    def forward(self, x: Any) -> Any:
        """[N, C, H, W] to [N, sum of the branches' channels, H', W']."""
        return torch.cat([getattr(self, name)(x) for name in self._names], 1)


class _Residual(_Branches):
    """``x + scale * conv2d(branches(x))``, with a ReLU behind it or without."""

    def __init__(
        self, channels: int, scale: float, branches: tuple[tuple[Step, ...], ...], relu: bool = True
    ) -> None:
        super().__init__(*(_branch(channels, steps) for steps in branches))
        inner = sum(steps[-1][1] for steps in branches)
        self.conv2d = nn.Conv2d(inner, channels, 1)
        self._scale = scale
        self._relu = relu

    def forward(self, x: Any) -> Any:
        """[N, C, H, W] to the same shape."""
        y = x + self._scale * self.conv2d(super().forward(x))
        return torch.relu(y) if self._relu else y


def _block35() -> Any:
    point, square = ((1, 1), 32, 1), ((3, 3), 32, 1)
    return _Residual(256, 0.17, ((point,), (point, square), (point, square, square)))


def _block17() -> Any:
    point = ((1, 1), 128, 1)
    return _Residual(896, 0.10, ((point,), (point, ((1, 7), 128, 1), ((7, 1), 128, 1))))


def _block8(scale: float = 0.20, relu: bool = True) -> Any:
    point = ((1, 1), 192, 1)
    branches = ((point,), (point, ((1, 3), 192, 1), ((3, 1), 192, 1)))
    return _Residual(1792, scale, branches, relu)


def _reduction_a() -> Any:
    return _Branches(
        _branch(256, (((3, 3), 384, 2),)),
        _branch(256, (((1, 1), 192, 1), ((3, 3), 192, 1), ((3, 3), 256, 2))),
        nn.MaxPool2d(3, 2),
    )


def _reduction_b() -> Any:
    point = ((1, 1), 256, 1)
    return _Branches(
        _branch(896, (point, ((3, 3), 384, 2))),
        _branch(896, (point, ((3, 3), 256, 2))),
        _branch(896, (point, ((3, 3), 256, 1), ((3, 3), 256, 2))),
        nn.MaxPool2d(3, 2),
    )


def build_inception_resnet_v1(outputs: int) -> Any:
    """The module: float32 [N, 3, H, W], H and W at least 80, to logits [N, outputs]."""
    three = (3, 3)
    return nn.Sequential(
        OrderedDict(
            conv2d_1a=_convolution(3, three, 32, 2, padded=False),
            conv2d_2a=_convolution(32, three, 32, padded=False),
            conv2d_2b=_convolution(32, three, 64),
            maxpool_3a=nn.MaxPool2d(3, 2),
            conv2d_3b=_convolution(64, (1, 1), 80),
            conv2d_4a=_convolution(80, three, 192, padded=False),
            conv2d_4b=_convolution(192, three, 256, 2, padded=False),
            repeat_1=nn.Sequential(*(_block35() for _ in range(5))),
            mixed_6a=_reduction_a(),
            repeat_2=nn.Sequential(*(_block17() for _ in range(10))),
            mixed_7a=_reduction_b(),
            repeat_3=nn.Sequential(*(_block8() for _ in range(5))),
            # facenet-pytorch scales this last block by 1, and has no ReLU behind it.
            block8=_block8(scale=1.0, relu=False),
            avgpool_1a=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            last_linear=nn.Linear(1792, 512, bias=False),
            last_bn=nn.BatchNorm1d(512, eps=_EPSILON),
            logits=nn.Linear(512, outputs),
        )
    )


_NETWORK = TorchNetwork(
    build_inception_resnet_v1,
    head="logits",
    least=80,
    other_head="facenet-pytorch normalises the 512 features to length 1 unless it was built with"
    " classify=True, and then its head is 'logits': nothing says which of the two this one saw",
)


def inception_resnet_v1(card: ModelCard, choice: WeightsChoice) -> TorchOriginal:
    """Inception-ResNet-v1 with its weights; see `zoo.originals.load_original`."""
    return load_network(card, choice, _NETWORK)
