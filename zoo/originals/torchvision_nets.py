"""torchvision's InceptionV3, ResNet18 and VGG16 with a head of one or two, as fine-tuned.

The head is replaced the way everybody does it, ``model.fc = nn.Linear(..., 2)``, so that
state dicts of such projects fit.
"""

from __future__ import annotations

import sys
from typing import Any

from runtime.errors import MissingPackageError, ZooError
from zoo.card import ModelCard
from zoo.originals.original import WeightsChoice
from zoo.originals.torch_files import import_torch
from zoo.originals.torch_original import TorchNetwork, TorchOriginal, load_network


def import_torchvision_models() -> Any:
    """``torchvision.models``.

    Raises:
        MissingPackageError: it is not installed.
        ZooError: TensorFlow is already loaded: importing torchvision after it aborts the
            interpreter (both register LLVM's command-line options).
    """
    import_torch()
    if "tensorflow" in sys.modules and "torchvision" not in sys.modules:
        raise ZooError(
            "torchvision cannot be loaded into a process that runs TensorFlow",
            "it would abort the interpreter",
            "load each framework's networks in a process of their own",
        )
    try:
        import torchvision.models
    except ImportError:
        raise MissingPackageError("torchvision", "a torchvision original", "torch") from None
    return torchvision.models


def _build_inception_v3(outputs: int) -> Any:
    """With its auxiliary head, which takes part in training only: eval mode skips it.

    The auxiliary head keeps ImageNet's 1000 classes, as in a model whose ``fc`` alone was
    replaced; the published number of parameters counts it.
    """
    nn = import_torch().nn
    model = import_torchvision_models().inception_v3(
        weights=None, init_weights=False, transform_input=False
    )
    model.fc = nn.Linear(model.fc.in_features, outputs)
    return model


def _build_resnet18(outputs: int) -> Any:
    return import_torchvision_models().resnet18(weights=None, num_classes=outputs)


def _build_vgg16(outputs: int) -> Any:
    return import_torchvision_models().vgg16(weights=None, init_weights=False, num_classes=outputs)


_INCEPTION_V3 = TorchNetwork(_build_inception_v3, head="fc", unused=("AuxLogits.",), least=75)
_RESNET18 = TorchNetwork(_build_resnet18, head="fc")
_VGG16 = TorchNetwork(_build_vgg16, head="classifier.6")


def inception_v3(card: ModelCard, choice: WeightsChoice) -> TorchOriginal:
    """InceptionV3 with its weights; see `zoo.originals.load_original`."""
    return load_network(card, choice, _INCEPTION_V3)


def resnet18(card: ModelCard, choice: WeightsChoice) -> TorchOriginal:
    """ResNet18 with its weights; see `zoo.originals.load_original`."""
    return load_network(card, choice, _RESNET18)


def vgg16(card: ModelCard, choice: WeightsChoice) -> TorchOriginal:
    """VGG16 with its weights; see `zoo.originals.load_original`."""
    return load_network(card, choice, _VGG16)
