"""Originals written in PyTorch: strict loading, the head's outputs, scores."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import WeightsError
from weights.recognise import recognise
from zoo.card import Head, ModelCard
from zoo.originals.calibration import calibration_frames
from zoo.originals.original import Original, WeightsChoice, settle_fake_index
from zoo.originals.torch_checkpoint import Checkpoint, import_torch, read_checkpoint
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


def load_network(
    card: ModelCard, choice: WeightsChoice, fake_index: int | None, network: TorchNetwork
) -> TorchOriginal:
    """Build a network and give it its weights.

    Random weights are conditioned. A backbone's own head is left out and a seeded one put
    in its place. Of a user's file the number of outputs decides which of the card's heads
    it has.

    Raises:
        WeightsError: the file does not fit, or nothing says which of two outputs is "fake".
        MissingPackageError: torch is not installed.
    """
    head = (choice.recipe and choice.recipe.head) or card.head
    checkpoint = None if choice.path is None else read_checkpoint(choice.path)
    backbone = choice.card is not None and choice.card.backbone
    if checkpoint is not None:
        checkpoint = _one_linear(checkpoint, network.head)
        if choice.card is None:
            head = _head_of(card, checkpoint, network.head)
        choice = replace(choice, info=_with_notes(choice, checkpoint))
    fake_index = settle_fake_index(card, head, choice, fake_index)
    module = network.build(head.outputs)
    original = TorchOriginal(card, choice, module, fake_index, head=head)
    if checkpoint is not None:
        left_out = (*network.unused, f"{network.head}.") if backbone else network.unused
        load_strictly(module, checkpoint, card.title, left_out)
    if checkpoint is None or backbone:
        how = original.preprocessing
        frames = calibration_frames(how.height, how.width, choice.seed + 1)
        values = _channels_first(original.normalise(frames))
        if backbone:
            condition_head(module.eval(), network.head, values, choice.seed)
        else:
            condition(module, network.head, values, choice.seed)
    module.requires_grad_(False).eval()
    return original


def _one_linear(checkpoint: Checkpoint, head: str) -> Checkpoint:
    """``fc.1.weight`` becomes ``fc.weight``.

    Many put ``Sequential(Dropout, Linear)`` where the head was; in eval mode that is the
    Linear alone. With more than one layer there it is another network, and refused.
    """
    pattern = re.compile(rf"{re.escape(head)}\.(\d+)\.(weight|bias)")
    inner = [found for name in checkpoint.tensors if (found := pattern.fullmatch(name))]
    if len(inner) != 2 or len({found[1] for found in inner}) != 1:
        return checkpoint
    renamed = {found[0]: f"{head}.{found[2]}" for found in inner}
    return replace(
        checkpoint, tensors={renamed.get(n, n): t for n, t in checkpoint.tensors.items()}
    )


def _head_of(card: ModelCard, checkpoint: Checkpoint, name: str) -> Head:
    """Which of the card's heads a user's checkpoint has, by its number of outputs."""
    weight = checkpoint.tensors.get(f"{name}.weight")
    if weight is None or weight.ndim != 2:
        return card.head  # load_strictly says what is wrong
    heads = {head.outputs: head for head in (card.head, card.other_head) if head is not None}
    outputs = weight.shape[0]
    if outputs in heads:
        return heads[outputs]
    due = " or ".join(map(str, sorted(heads)))
    starts = [w.name for w in card.weights if w.backbone]
    raise WeightsError(
        f"{checkpoint.path} has another number of classes",
        f"{name}.weight is {list(weight.shape)}: {outputs} outputs; {card.title} judges by {due}",
        "; or ".join(
            [f"give one trained with {due} outputs"]
            + [
                f"--weights {name} for published features under an untrained head"
                for name in starts
            ]
        ),
    )


def _with_notes(choice: WeightsChoice, checkpoint: Checkpoint) -> Any:
    """What was found in the file goes into the sidecar."""
    return replace(choice.info, source="; ".join([choice.info.source, *checkpoint.notes]))


def load_strictly(
    module: Any, checkpoint: Checkpoint, title: str, left_out: tuple[str, ...] = ()
) -> None:
    """Put the tensors of a checkpoint into a module, every one of them and no other.

    Args:
        module: the network.
        checkpoint: names and tensors.
        title: of the network, for people.
        left_out: prefixes of names that are neither needed nor used.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape; the message names
            the first few and what the file looks like.
    """
    due = {n: t for n, t in module.state_dict().items() if not n.startswith(left_out)}
    given = {n: t for n, t in checkpoint.tensors.items() if not n.startswith(left_out)}
    # A counter that only training uses, and that torch before 0.4.1 did not write.
    wrong = [f"missing: {n}" for n in due if n not in given and not _is_counter(n)]
    wrong += [f"left over: {n}" for n in given if n not in due]
    wrong += [
        f"misshapen: {n} is {list(given[n].shape)}, due is {list(t.shape)}"
        for n, t in due.items()
        if n in given and given[n].shape != t.shape
    ]
    if wrong:
        shown = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise WeightsError(
            f"{checkpoint.path} does not fit {title}",
            f"{shown}. The file looks like {recognise(checkpoint.path).what}",
            "zoo list names the networks; zoo show NAME the weights of one",
        )
    # Strictness is settled above, where the names that are left out are known.
    module.load_state_dict(given, strict=False)


def _is_counter(name: str) -> bool:
    return name.endswith(".num_batches_tracked")
