"""MTCNN's three networks, from facenet-pytorch's weights to ONNX for `runtime.faces.mtcnn`.

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks, arXiv:1604.02878. The names of the weights are those of
facenet-pytorch 2.6.0 (MIT), which took them from David Sandberg's facenet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.exporting import OPSET, quiet
from export.staging import publish, staging
from runtime.errors import ExportError, MissingPackageError, WeightsError
from runtime.faces.mtcnn import NETWORKS
from runtime.files import snapshot
from weights.store import cache_folder, locate
from zoo.originals.torch_checkpoint import read_checkpoint

#: Between torch and ONNX Runtime, in probability, box and landmark alike.
_TOLERANCE = 1e-5
#: Of the pictures that the second and third network look at, in pixels.
_SIDES = {"rnet": 24, "onet": 48}


def mtcnn_folder() -> Path:
    """The three networks in ONNX, made once and kept in the user's cache.

    Returns:
        A folder with ``pnet.onnx``, ``rnet.onnx`` and ``onet.onnx``.

    Raises:
        MissingPackageError: torch is not installed, and they were not made before.
        WeightsError: the weights are not to be had, damaged or others.
        ExportError: the conversion failed or computes something else.
    """
    files = {name: locate(f"{name}.pt") for name in NETWORKS}
    # By content: other weights or another conversion never meet an old result.
    mark = "-".join(file.sha256[:8] for file in files.values())
    folder = cache_folder() / f"mtcnn-opset{OPSET}-{mark}"
    names = [f"{name}.onnx" for name in NETWORKS]
    if all((folder / name).is_file() for name in names):
        return folder
    with staging(folder, "mtcnn") as work:
        for name in NETWORKS:
            module = load_network(name, files[name].path)
            _convert(module, name, work / f"{name}.onnx")
            _compare(module, name, work / f"{name}.onnx")
        publish(work, folder, names)
    return folder


def load_network(name: str, path: Path) -> Any:
    """One of the three as a ``torch.nn.Module`` in evaluation, its weights loaded strictly."""
    module = build_network(name)
    with snapshot(path, error=WeightsError) as source:
        state = read_checkpoint(source).tensors
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} is not MTCNN's {name}",
            str(error).splitlines()[-1].strip(),
            f"zoo weights fetch {name}.pt",
        ) from None
    return module.eval()


def build_network(name: str) -> Any:
    """One of the three with random weights.

    Args:
        name: ``pnet``, ``rnet`` or ``onet``. In: float32 [N, 3, H, W], RGB, (x - 127.5) /
            128; of 24 and 48 pixels for the second and third.

    The module returns P(face) and the box's correction (left, top, right, bottom, in parts
    of its size), for ``onet`` the landmarks too (five x, then five y, in parts of the
    box): for ``pnet`` [N, H', W'] and [N, 4, H', W'], else [N], [N, 4] and [N, 10].
    """
    try:
        import torch
        from torch import nn
    except ImportError:
        raise MissingPackageError("torch", "converting MTCNN", "torch") from None

    def block(module: Any, number: int, channels: tuple[int, int], kernel: int) -> None:
        setattr(module, f"conv{number}", nn.Conv2d(*channels, kernel))
        setattr(module, f"prelu{number}", nn.PReLU(channels[1]))

    def pool(size: int) -> Any:
        # Caffe, where the weights come from, rounds up.
        return nn.MaxPool2d(size, 2, ceil_mode=True)

    class PNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            block(self, 1, (3, 10), 3)
            block(self, 2, (10, 16), 3)
            block(self, 3, (16, 32), 3)
            self.pool1 = pool(2)
            self.conv4_1 = nn.Conv2d(32, 2, 1)
            self.conv4_2 = nn.Conv2d(32, 4, 1)

        def forward(self, x: Any) -> Any:
            x = self.pool1(self.prelu1(self.conv1(x)))
            x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
            return torch.softmax(self.conv4_1(x), 1)[:, 1], self.conv4_2(x)

    class RNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            block(self, 1, (3, 28), 3)
            block(self, 2, (28, 48), 3)
            block(self, 3, (48, 64), 2)
            self.pool1, self.pool2 = pool(3), pool(3)
            self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
            self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

        def forward(self, x: Any) -> Any:
            x = self.pool1(self.prelu1(self.conv1(x)))
            x = self.pool2(self.prelu2(self.conv2(x)))
            x = self.prelu3(self.conv3(x))
            # Caffe's order of a picture's numbers: across, down, channels innermost.
            x = self.prelu4(self.dense4(x.permute(0, 3, 2, 1).flatten(1)))
            return torch.softmax(self.dense5_1(x), 1)[:, 1], self.dense5_2(x)

    class ONet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            block(self, 1, (3, 32), 3)
            block(self, 2, (32, 64), 3)
            block(self, 3, (64, 64), 3)
            block(self, 4, (64, 128), 2)
            self.pool1, self.pool2, self.pool3 = pool(3), pool(3), pool(2)
            self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
            self.dense6_1, self.dense6_2 = nn.Linear(256, 2), nn.Linear(256, 4)
            self.dense6_3 = nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool1(self.prelu1(self.conv1(x)))
            x = self.pool2(self.prelu2(self.conv2(x)))
            x = self.pool3(self.prelu3(self.conv3(x)))
            x = self.prelu4(self.conv4(x))
            x = self.prelu5(self.dense5(x.permute(0, 3, 2, 1).flatten(1)))
            face = torch.softmax(self.dense6_1(x), 1)[:, 1]
            return face, self.dense6_2(x), self.dense6_3(x)

    return {"pnet": PNet, "rnet": RNet, "onet": ONet}[name]()


def _outputs(name: str) -> list[str]:
    return ["face", "box", "landmarks"] if name == "onet" else ["face", "box"]


def _convert(module: Any, name: str, path: Path) -> None:
    import torch

    side = _SIDES.get(name, 40)
    shape: dict[int, Any] = {0: torch.export.Dim("N")}
    if name == "pnet":
        # Even, so that the pool's rounding needs no case of its own.
        shape |= {2: torch.export.Dim("H", min=12), 3: torch.export.Dim("W", min=12)}
    try:
        with quiet("torch.onnx", "onnxscript"):
            program = torch.onnx.export(
                module,
                (torch.zeros(2, 3, side, side + (6 if name == "pnet" else 0)),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["picture"],
                output_names=_outputs(name),
                dynamic_shapes=(shape,),
                verbose=False,
            )
            program.save(str(path))
    except Exception as error:
        raise ExportError(
            f"MTCNN's {name} could not be converted to ONNX",
            f"{type(error).__name__}: {str(error).splitlines()[0]}",
            "zoo doctor shows the versions that are installed; --finder yunet needs none",
        ) from error


def _compare(module: Any, name: str, path: Path) -> None:
    """The ONNX graph has to compute what torch does, at sizes it was not exported with."""
    import onnxruntime as ort
    import torch

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    side = _SIDES.get(name)
    for shape in [(1, side, side), (5, side, side)] if side else [(1, 12, 31), (1, 75, 44)]:
        picture = rng.uniform(-1, 1, (shape[0], 3, *shape[1:])).astype(np.float32)
        with torch.no_grad():
            due = [value.numpy() for value in module(torch.from_numpy(picture))]
        found = session.run(_outputs(name), {"picture": picture})
        far = max(float(np.abs(a - b).max()) for a, b in zip(due, found, strict=True))
        if not far <= _TOLERANCE:
            raise ExportError(
                f"MTCNN's {name} in ONNX computes something else than in torch",
                f"they are {far:.1e} apart, {_TOLERANCE:.0e} is allowed",
                "--finder yunet needs no conversion",
            )
