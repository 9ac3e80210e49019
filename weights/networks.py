"""Tell a network by the names, or the shapes, of its arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

Shape = tuple[int, ...]

#: Attributes that programs keep a network in; they stand before every name.
_WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "backbone", "efficientnet")


@dataclass(frozen=True)
class _Names:
    """A network whose state dict has some names and lacks others."""

    network: str
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shapes:
    """A network of Keras, whose layers' names mean nothing, by the shapes of its arrays."""

    network: str
    convolutions: int
    has: tuple[Shape, ...]


# Two PyTorch networks of the name are not Afchar's: one BatchNorm stands behind two
# convolutions each, these have no bias, and the output is a softmax over two.
_BY_NAMES = (
    _Names(
        "MesoInception4 of DeepfakeBench and HongguLiu (another network than Afchar's)",
        ("Incption1_bn.weight", "Incption2_bn.weight", "fc2.weight"),
    ),
    _Names(
        "Meso4 of DeepfakeBench and HongguLiu (another network than Afchar's: two shared "
        "BatchNorms, convolutions without bias)",
        ("conv1.weight", "conv4.weight", "bn1.weight", "fc1.weight", "fc2.weight"),
        ("conv1.bias", "bn3.weight", "layer1.0.conv1.weight"),
    ),
    _Names("torchvision's inception_v3", ("Mixed_7c.branch_pool.conv.weight",)),
    _Names("InceptionResnetV1 of facenet-pytorch", ("repeat_1.0.branch0.conv.weight",)),
    _Names(
        "torchvision's resnet50", ("layer1.0.conv3.weight", "fc.weight"), ("layer3.6.conv1.weight",)
    ),
    _Names("torchvision's resnet101 or deeper", ("layer1.0.conv3.weight", "fc.weight")),
    _Names("torchvision's resnet34", ("layer1.2.conv1.weight", "fc.weight")),
    _Names("torchvision's resnet18", ("layer1.0.conv1.weight", "fc.weight")),
    _Names(
        "torchvision's vgg16",
        ("features.28.weight", "classifier.6.weight"),
        ("features.1.weight", "features.16.weight"),
    ),
    _Names("Xception", ("block12.rep.1.pointwise.weight",)),
    _Names("Xception", ("block12.rep.2.pointwise.weight",)),
    _Names("EfficientNet", ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight")),
    _Names("timm's EfficientNet", ("conv_stem.weight", "conv_head.weight")),
    _Names("torchvision's EfficientNet", ("features.0.0.weight", "features.1.0.block.0.0.weight")),
    _Names("MTCNN's P-Net", ("prelu1.weight", "conv4_1.weight", "conv4_2.weight")),
    _Names("MTCNN's R-Net", ("prelu1.weight", "dense5_1.weight", "dense5_2.weight")),
    _Names("MTCNN's O-Net", ("prelu1.weight", "dense6_1.weight", "dense6_3.weight")),
)

_BY_SHAPES = (
    _Shapes("Meso4", 4, ((3, 3, 3, 8), (5, 5, 8, 16), (5, 5, 16, 16), (1024, 16), (16, 1))),
    _Shapes("MesoInception4", 16, ((1, 1, 11, 4), (5, 5, 12, 16), (1024, 16), (16, 1))),
    _Shapes("InceptionResNetV2", 244, ((3, 3, 3, 32), (1, 1, 2080, 1536))),
)


def by_names(names: Iterable[str]) -> str | None:
    """The network whose state dict has these names; ``None`` where no rule fits."""
    own = {_unwrapped(name) for name in names}
    for rule in _BY_NAMES:
        if own.issuperset(rule.has) and own.isdisjoint(rule.lacks):
            return rule.network
    return None


def by_shapes(shapes: Collection[Shape]) -> str | None:
    """The Keras network whose arrays have these shapes; ``None`` where no rule fits."""
    convolutions = sum(len(shape) == 4 for shape in shapes)
    for rule in _BY_SHAPES:
        if convolutions == rule.convolutions and set(shapes).issuperset(rule.has):
            return rule.network
    return None


def _unwrapped(name: str) -> str:
    while name.startswith(tuple(f"{wrapper}." for wrapper in _WRAPPERS)):
        name = name.split(".", 1)[1]
    return name
