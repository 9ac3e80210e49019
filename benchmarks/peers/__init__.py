"""The peers by name: what users run today, and what else could run the same network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runtime.errors import ZooError
from zoo.card import Framework

#: The engine itself.
ENGINE = "detector"
ALL = "all"


@dataclass(frozen=True)
class PeerKind:
    """A row of the table.

    Attributes:
        opener: ``module:function``, see `benchmarks.peers.peer.Job`.
        framework: of the networks it can run; ``None`` for any.
        plain: whether it runs the framework's plain export.
        device: where alone it runs; ``None`` for wherever the engine does.
    """

    opener: str
    framework: Framework | None = None
    plain: bool = False
    device: Literal["cpu", "cuda"] | None = None


_KERAS = "benchmarks.peers.keras:open_peer"
_TORCH = "benchmarks.peers.pytorch:open_peer"
_ONNXRUNTIME = "benchmarks.peers.onnxruntime:open_peer"

ENGINE_KIND = PeerKind("benchmarks.peers.detector:open_peer")
PEERS: dict[str, PeerKind] = {
    "keras": PeerKind(_KERAS, "keras"),
    "keras-eager": PeerKind(_KERAS, "keras"),
    "keras-compiled": PeerKind(_KERAS, "keras"),
    "torch": PeerKind(_TORCH, "torch"),
    "torch-channels-last": PeerKind(_TORCH, "torch"),
    "torch-compiled": PeerKind(_TORCH, "torch"),
    "torch-fp16": PeerKind(_TORCH, "torch", device="cuda"),
    "torch-compiled-fp16": PeerKind(_TORCH, "torch", device="cuda"),
    "onnxruntime": PeerKind(_ONNXRUNTIME, plain=True),
    "onnxruntime-cuda": PeerKind(_ONNXRUNTIME, plain=True, device="cuda"),
    "session": PeerKind("benchmarks.peers.session:open_peer"),
    "openvino": PeerKind("benchmarks.peers.openvino:open_peer", plain=True),
    "trtexec": PeerKind("benchmarks.peers.trtexec:open_peer", device="cuda"),
}


def parse_peers(text: str) -> tuple[str, ...]:
    """Names between commas, or ``all``.

    Raises:
        ZooError: a name that is no peer's.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if ALL in names:
        return tuple(PEERS)
    for name in names:
        if name not in PEERS:
            raise ZooError(
                f"there is no peer '{name}'", f"the peers are {', '.join(PEERS)}", "--compare all"
            )
    return tuple(dict.fromkeys(names))


def unfit(name: str, framework: Framework, device: Literal["cpu", "cuda"]) -> str | None:
    """Why a peer has nothing to do with this network or machine, ``None`` where it has."""
    kind = PEERS[name]
    if kind.framework not in (None, framework):
        return f"the network is published in {framework}"
    if kind.device == "cuda" and device == "cpu":
        return "it runs on a GPU, and the engine on a CPU"
    return None
