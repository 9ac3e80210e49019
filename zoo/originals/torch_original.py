"""Originals written in PyTorch: strict loading, the head's outputs, scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.engine_info import Preprocessing
from runtime.errors import WeightsError
from zoo.card import Head, ModelCard
from zoo.originals.calibration import calibration_frames
from zoo.originals.original import Original, WeightsChoice
from zoo.originals.told import FileTold
from zoo.originals.torch_checkpoint import Checkpoint, read_checkpoint
from zoo.originals.torch_files import import_torch
from zoo.originals.torch_fit import Due, fit, refuse_misfits
from zoo.originals.torch_random import condition, condition_head


@dataclass(frozen=True)
class TorchNetwork:
    """A network as its author wrote it.

    Attributes:
        build: from the number of outputs to a ``torch.nn.Module`` that takes
            float32 [N, 3, H, W] and gives [N, outputs] in eval mode.
        head: name of its last Linear.
        unused: prefixes of names that take no part in judging (auxiliary heads): whether
            and in what shape a checkpoint has them makes no difference.
    """

    build: Callable[[int], Any]
    head: str
    unused: tuple[str, ...] = ()
    least: int = 32
    other_head: str = ""


class TorchOriginal(Original):
    """A ``torch.nn.Module`` in eval mode on the CPU, whose output is its logits.

    The original is the reference: on a CPU its arithmetic is plain float32 (a GPU may
    use TF32), and the GPU's memory stays free for the engine it is compared with.
    """

    def own_scores(
        self, values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Original.own_scores`; the network ends in logits, so both are the same."""
        torch = import_torch()
        with torch.inference_mode():
            logits = self.module(_channels_first(values)).numpy()
        return logits, logits


def _channels_first(values: NDArray[np.float32]) -> Any:
    """[N, H, W, 3] as a tensor [N, 3, H, W]."""
    torch = import_torch()
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def load_network(card: ModelCard, choice: WeightsChoice, network: TorchNetwork) -> TorchOriginal:
    """Build a network and give it its weights.

    Random weights are conditioned. A backbone's own head is left out and a seeded one put
    in its place. Of a user's file the number of outputs decides which of the card's heads
    it has, and names of somebody else's program are resolved (`zoo.originals.torch_fit`).

    Raises:
        WeightsError: the file does not fit, or nothing says what of its output is "fake".
        MissingPackageError: torch is not installed.
    """
    checkpoint, told = None, None
    left_out = network.unused
    if choice.file is not None:
        checkpoint = read_checkpoint(choice.file)
        if choice.backbone:
            left_out = (*left_out, f"{network.head}.")
        else:
            checkpoint = fit(checkpoint, _due(card, network, card.head.outputs))
        outputs = _outputs(card, checkpoint, network, own_head=choice.backbone)
        refuse_misfits(checkpoint, _due(card, network, outputs), left_out)
        own = choice.card is not None
        head = None if own else Head("logit" if outputs == 1 else "logits")
        told = FileTold(head=head, notes=checkpoint.notes)
    recipe = choice.resolve(card, told)
    _check_size(card, recipe.preprocessing, network)
    module = network.build(recipe.head.outputs)
    original = TorchOriginal(card, choice, module, told=told)
    if checkpoint is not None:
        # Strictness is settled above; what takes no part in judging may have any shape.
        own_names = {n for n in module.state_dict() if not left_out or not n.startswith(left_out)}
        given = {n: t for n, t in checkpoint.tensors.items() if n in own_names}
        module.load_state_dict(given, strict=False)
    if checkpoint is None or choice.backbone:
        how = recipe.preprocessing
        frames = calibration_frames(how.height, how.width, choice.seed + 1)
        values = _channels_first(original.normalise(frames))
        if choice.backbone:
            condition_head(module.eval(), network.head, values, choice.seed)
        else:
            condition(module, network.head, values, choice.seed)
    module.requires_grad_(False).eval()
    return original


def _due(card: ModelCard, network: TorchNetwork, outputs: int) -> Due:
    """The network's names and shapes; no memory is taken for its numbers."""
    with import_torch().device("meta"):
        state = network.build(outputs).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return Due(card.title, shapes, network.head, network.unused, network.other_head)


def _outputs(card: ModelCard, checkpoint: Checkpoint, network: TorchNetwork, own_head: bool) -> int:
    """How many outputs the network is to have.

    Raises:
        WeightsError: a checkpoint has a number of them that the network cannot judge by.
    """
    weight = checkpoint.tensors.get(f"{network.head}.weight")
    if own_head or weight is None or weight.ndim != 2:
        return card.head.outputs  # `refuse_misfits` says what is wrong
    heads = sorted({one.outputs for one in (card.head, card.other_head) if one is not None})
    outputs = int(weight.shape[0])
    if outputs in heads:
        return outputs
    due = " or ".join(map(str, heads))
    starts = [w.name for w in card.weights if w.backbone]
    raise WeightsError(
        f"{checkpoint.path} has another number of classes",
        f"{network.head}.weight is {list(weight.shape)}: {outputs} outputs; {card.title} judges"
        f" by {due}",
        "; or ".join(
            [f"give one trained with {due} outputs"]
            + [
                f"--weights {name} for published features under an untrained head"
                for name in starts
            ]
        ),
    )


def _check_size(card: ModelCard, how: Preprocessing, network: TorchNetwork) -> None:
    if min(how.height, how.width) < network.least:
        raise WeightsError(
            f"frames of {how.height} x {how.width} are too small for {card.title}",
            f"nothing of them is left behind its last layers; at least {network.least} x"
            f" {network.least} are due",
            "--size N",
        )
