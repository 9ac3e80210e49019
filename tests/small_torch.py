"""A torch network of a few numbers with its card, for tests of how checkpoints are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from runtime.engine_info import Preprocessing
from zoo.card import Head, ModelCard, Normalisation, WeightsCard
from zoo.originals.original import WeightsChoice
from zoo.originals.torch_original import TorchNetwork, TorchOriginal, load_network


class SmallNet(nn.Module):
    """Convolutions of names that look like a ResNet's, and a head called ``fc``."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2)
        self.aux = nn.Linear(6, 5)
        self.fc = nn.Linear(6, outputs)

    def forward(self, x: Any) -> Any:
        """[N, 3, H, W] to logits [N, outputs]."""
        return self.fc(self.features(x))

    def features(self, x: Any) -> Any:
        """[N, 3, H, W] to [N, 6]."""
        return torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x))))).mean((2, 3))


_NETWORK = TorchNetwork(SmallNet, head="fc", unused=("aux.",), least=16)


def small_net(card: ModelCard, choice: WeightsChoice) -> TorchOriginal:
    """See `zoo.originals.load_original`."""
    return load_network(card, choice, _NETWORK)


CARD = ModelCard(
    name="small",
    title="SmallNet",
    framework="torch",
    original="small_torch:small_net",
    preprocessing=Preprocessing(24, 24, "bilinear", "center", 32),
    normalisation=Normalisation(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    head=Head("logits"),
    other_head=Head("logit"),
    parameters=0,
    trainable=0,
    weights=(WeightsCard("trained", "small.pth", "nothing", normalisation=Normalisation(1 / 255)),),
    paper="",
    source="",
    licence="MIT",
)


def state(outputs: int, seed: int = 0) -> dict[str, Any]:
    """A state dict of seeded numbers."""
    torch.manual_seed(seed)
    return dict(SmallNet(outputs).state_dict())


def save(path: Path, content: Any, **options: Any) -> Path:
    """``torch.save``."""
    torch.save(content, path, **options)
    return path
