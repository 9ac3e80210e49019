"""Find a network's tensors under the names that somebody else's program gave them.

Training programs keep the network in an attribute (``backbone.conv1.weight``) and put a
head of their own behind it (``classifier.1.weight``). Where the shapes leave one way only
to read such names, it is taken, and said; where they leave several, that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runtime.errors import WeightsError
from runtime.text import printable
from weights.recognise import recognise
from zoo.originals.torch_checkpoint import Checkpoint

Shapes = Mapping[str, tuple[int, ...]]

#: Outputs that a network can judge by.
_HEADS = (1, 2)


@dataclass(frozen=True)
class Due:
    """The names and shapes that a network has.

    Attributes:
        title: of the network, for people.
        shapes: of every tensor.
        head: name of its last Linear.
        unused: prefixes of names that take no part in judging.
        other_head: why a head under another name cannot be told to be this one, where that
            is so; empty where it is taken.
    """

    title: str
    shapes: Shapes
    head: str
    unused: tuple[str, ...] = ()
    other_head: str = ""

    @property
    def body(self) -> dict[str, tuple[int, ...]]:
        """All that judges, but the head and counters of training."""
        return {
            name: shape
            for name, shape in self.shapes.items()
            if not name.startswith((*self.unused, f"{self.head}.")) and not is_counter(name)
        }

    @property
    def features(self) -> int:
        """How many numbers the head takes."""
        return self.shapes[f"{self.head}.weight"][1]


def fit(checkpoint: Checkpoint, due: Due) -> Checkpoint:
    """The same tensors under the network's own names, with a note where they had others.

    Names that do not fit stay as they are: `refuse_misfits` tells them.

    Raises:
        WeightsError: there are several ways to read the names.
    """
    given = _shapes(checkpoint)
    prefix = _find_prefix(checkpoint, given, due)
    if prefix is None:
        return checkpoint
    head = _find_head(checkpoint, given, prefix, due)
    names = {name: name.removeprefix(prefix) for name in given}
    notes = [f"names without their prefix '{printable(prefix)}'"] * bool(prefix)
    if head is not None and head != prefix + due.head:
        for part in ("weight", "bias"):
            names[f"{head}.{part}"] = f"{due.head}.{part}"
        notes.append(f"'{printable(head)}' is its head '{due.head}', right behind its features")
    if len(set(names.values())) < len(names):
        return checkpoint
    tensors = {names[name]: tensor for name, tensor in checkpoint.tensors.items()}
    return replace(checkpoint, tensors=tensors, notes=(*checkpoint.notes, *notes))


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}


def _find_prefix(checkpoint: Checkpoint, given: Shapes, due: Due) -> str | None:
    """What stands before the names of the whole body; ``None`` where it is not there."""
    body = due.body
    first = next(iter(body))
    ends = (name.removesuffix(first) for name in given if name.endswith(first))
    prefixes = [prefix for prefix in ends if not prefix or prefix.endswith(".")]
    found = [p for p in prefixes if all(given.get(p + n) == s for n, s in body.items())]
    if len(found) > 1:
        raise WeightsError(
            f"{checkpoint.path} holds {due.title} {len(found)} times",
            f"under {', '.join(printable(p) or 'no prefix' for p in found)}",
            "save the state dict of the one that judges: torch.save(model.NAME.state_dict(), ...)",
        )
    return found[0] if found else None


def _find_head(checkpoint: Checkpoint, given: Shapes, prefix: str, due: Due) -> str | None:
    """The one Linear that can be the head; ``None`` where something else is left over."""
    body = {prefix + name for name in due.body}
    unused = tuple(before + name for before in {"", prefix} for name in due.unused)
    rest = {
        name: shape
        for name, shape in given.items()
        if name not in body and not _begins(name, unused) and not is_counter(name)
    }
    layers = {name.rpartition(".")[0] for name in rest}
    linears = sorted(layer for layer in layers if _is_head(rest, layer, due.features))
    if len(linears) > 1:
        raise WeightsError(
            f"{checkpoint.path} has {len(linears)} layers that could be the head of {due.title}",
            ", ".join(f"{printable(n)} {list(rest[f'{n}.weight'])}" for n in linears),
            "save the state dict of the network with the head that judges, and no other",
        )
    if not linears or len(layers) > 1:
        return None
    (head,) = linears
    if due.other_head and head != prefix + due.head:
        raise WeightsError(
            f"{checkpoint.path} has a head of its own, '{printable(head)}'",
            due.other_head,
            f"save the state dict of {due.title} with its head, '{due.head}'",
        )
    return head


def _begins(name: str, prefixes: tuple[str, ...]) -> bool:
    return bool(prefixes) and name.startswith(prefixes)


def _is_head(rest: Shapes, name: str, features: int) -> bool:
    weight = rest.get(f"{name}.weight", ())
    fits = len(weight) == 2 and weight[1] == features
    return fits and weight[0] in _HEADS and rest.get(f"{name}.bias") == weight[:1]


def refuse_misfits(checkpoint: Checkpoint, due: Due, left_out: tuple[str, ...]) -> None:
    """Every tensor has to be there in its shape, and no other.

    Args:
        checkpoint: names and tensors.
        due: of the network, with as many outputs as the checkpoint has, if it can.
        left_out: prefixes of names that are neither needed nor used.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape; the message names
            the first few and what the file looks like.
    """
    given = {n: s for n, s in _shapes(checkpoint).items() if not _begins(n, left_out)}
    own = {n: s for n, s in due.shapes.items() if not _begins(n, left_out)}
    # A counter that only training uses, and that torch before 0.4.1 did not write.
    wrong = [f"missing: {n}" for n in own if n not in given and not is_counter(n)]
    wrong += [f"left over: {printable(n)}" for n in given if n not in own]
    wrong += [
        f"misshapen: {n} is {list(given[n])}, due is {list(shape)}"
        for n, shape in own.items()
        if n in given and given[n] != shape
    ]
    if wrong:
        shown = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise WeightsError(
            f"{checkpoint.path} does not fit {due.title}",
            f"{shown}. The file looks like {_looks(checkpoint)}",
            "zoo list names the networks; zoo show NAME the weights of one",
        )


def _looks(checkpoint: Checkpoint) -> str:
    return recognise(checkpoint.source).what


def is_counter(name: str) -> bool:
    """Whether a tensor counts batches of training, which says nothing."""
    return name.endswith(".num_batches_tracked")
