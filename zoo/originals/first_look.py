"""Look at a user's weights file before a framework is loaded for it.

That takes 5 to 20 seconds, and many a wrong file is told by its first bytes. What is refused
here is certain: whatever a framework might make something of goes on to it.
"""

from __future__ import annotations

from pathlib import Path

from runtime.errors import WeightsError
from runtime.files import Snapshot
from runtime.text import printable
from weights.recognise import Recognised, recognise
from zoo.card import Framework, ModelCard
from zoo.originals.torch_files import SAVE

_FORMS: dict[Framework, str] = {
    "keras": "a Keras .h5, .hdf5, .weights.h5 or .keras file",
    "torch": "a state dict (.pth, .pt) or a .safetensors file",
}
_TITLES: dict[Framework, str] = {"keras": "Keras", "torch": "PyTorch"}
#: The framework of a kind of file; of a kind that is not here, no weights are read.
_OF: dict[str, Framework] = {
    "hdf5": "keras",
    "keras": "keras",
    "torch": "torch",
    "pickle": "torch",
    "safetensors": "torch",
}
_TODO = {
    "image": "to judge images: zoo detect IMAGE --engine ENGINE",
    "video": "to judge videos: zoo detect VIDEO --engine ENGINE",
    "plan": "give the weights it was built from, which its engine is proved against",
    "onnx": "give the weights it was converted from, which its engine is proved against",
    "tflite": "give the weights it was converted from, which its engine is proved against",
    "gzip": "unpack it first",
    "tar": "unpack it first",
    "empty": "fetch or copy it again",
    "missing": "check the path and its permissions",
}
#: Networks of the zoo, as `weights.networks` names them.
_CARDS = {
    "Meso4": "meso4",
    "MesoInception4": "mesoinception4",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionResnetV1 of facenet-pytorch": "inception_resnet_v1",
    "torchvision's inception_v3": "inception_v3",
    "torchvision's resnet18": "resnet18",
    "torchvision's vgg16": "vgg16",
}


def refuse_at_first_look(card: ModelCard, source: Path | Snapshot) -> None:
    """Refuse a file that is certainly none of a network's weights.

    Args:
        card: of the network.
        source: the file.

    Raises:
        WeightsError: it is no weights file, a program, of another framework, or of another
            network; with the command that would take it, where there is one.
    """
    found = recognise(source)
    path = source if isinstance(source, Path) else source.path
    own = _OF.get(found.kind)
    if found.kind == "torchscript" or any(name.startswith("torch.nn.") for name in found.code):
        raise WeightsError(
            f"{printable(path)} holds a program, not only weights",
            f"it looks like {found.what}, whose code is not run",
            SAVE,
        )
    if own is None:
        raise WeightsError(
            f"{printable(path)} is no weights file",
            f"it looks like {found.what}",
            _TODO.get(found.kind, f"give {_FORMS[card.framework]}"),
        )
    if own != card.framework:
        raise WeightsError(
            f"{printable(path)} is of {_TITLES[own]}; {card.title} is of {_TITLES[card.framework]}",
            f"it looks like {found.what}",
            command_for(found, path, f"give {_FORMS[card.framework]}"),
        )
    if found.network and _CARDS.get(found.network) != card.name:
        raise WeightsError(
            f"{printable(path)} is not of {card.title}",
            f"it looks like {found.what}",
            command_for(
                found, path, "zoo list names the networks; zoo show NAME the weights of one"
            ),
        )


def command_for(found: Recognised, path: Path, otherwise: str) -> str:
    """What to type for the network that a file is recognised as, if it is one of the zoo."""
    name = _CARDS.get(found.network or "")
    return f"zoo export {name} --weights {printable(path)}" if name else otherwise
