"""What a pickle that was followed without running it holds; see `weights.pickles`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: Opcodes, and items that are handed on. A large network's checkpoint with its optimiser's
#: state has some 100,000.
MOST_STEPS = 300_000
#: In steps: numbers and tuples, unlike texts, can be chosen to collide in a hash table.
_KEY_STEPS = 100

#: What a checkpoint of tensors, options and metrics names. All of it builds data, and
#: loaders that run nothing accept it; any other name is code.
_DATA = re.compile(
    r"""collections\.(OrderedDict|Counter|defaultdict)
    |builtins\.(set|frozenset|bytearray|complex|int|float|dict|list)
    |__builtin__\.(set|frozenset|bytearray|complex)
    |_codecs\.encode
    |argparse\.Namespace
    |torch\.(cuda\.)?(sparse\.)?[A-Z]\w*(Storage|Tensor)
    |torch\.(b?float|u?int|complex|q?u?int|bits)\d\w*
    |torch\.(bool|Size|Tensor|device)
    |torch\.nn\.parameter\.Parameter
    |torch\.storage\.(Untyped|Typed)Storage
    |torch\.serialization\._get_layout
    |torch\._tensor\._rebuild_from_type_v2
    |torch\._utils\._rebuild_(tensor(_v[23])?|parameter(_with_state)?|(q|sparse_)tensor)
    |torch\._utils\._rebuild_meta_tensor_no_storage
    |numpy\.(ndarray|dtype)
    |numpy\.dtypes\.\w+DType
    |numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)""",
    re.VERBOSE,
)
_REBUILT = re.compile(r"torch\._utils\._rebuild_(tensor(_v[23])?|parameter(_with_state)?)")


@dataclass(eq=False)
class Global:
    """An import, not made.

    Attributes:
        name: module and attribute, joined by a dot.
    """

    name: str


@dataclass(eq=False)
class Call:
    """A call, not made, and what is done to its result."""

    function: Any
    arguments: Any = ()
    items: dict[Any, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of what is called; empty where it is no import."""
        return self.function.name if isinstance(self.function, Global) else ""


@dataclass
class Pickled:
    """What a file of pickles holds.

    Attributes:
        values: of each whole pickle: containers, numbers, texts, and placeholders.
        imports: every name that it would import, in order, without repetition.
        texts: every text in it.
        whole: whether the first pickle (or, of torch's old format, all five) ended.
        steps: that were taken.
        flaw: the first thing in it that would take memory or time without bound; empty
            where there is none.
        flawed: what that would have made.
        storages: bytes of each storage that it speaks of.
    """

    values: list[Any] = field(default_factory=list)
    imports: dict[str, None] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    whole: bool = True
    steps: int = 0
    flaw: str = ""
    flawed: Any = None
    storages: dict[Any, int] = field(default_factory=dict)

    def spend(self, steps: int) -> None:
        """Count steps.

        Raises:
            TooLongError: there were too many.
        """
        self.steps += steps
        if self.steps > MOST_STEPS:
            self.mark(f"its pickle has more than {MOST_STEPS:,} steps, which no checkpoint has")
            raise TooLongError

    def mark(self, flaw: str, what: Any = None) -> None:
        """Note a flaw, the first one alone."""
        if not self.flaw:
            self.flaw, self.flawed = flaw, what

    @property
    def flawed_name(self) -> str:
        """Under which name in a container the flawed thing is, if under one."""
        for items in _containers(self.values):
            for key, value in items.items() if isinstance(items, dict) else ():
                if value is self.flawed and value is not None:
                    return str(key)
        return ""

    @property
    def code(self) -> tuple[str, ...]:
        """Imports that are not data."""
        return tuple(name for name in self.imports if not _DATA.fullmatch(name))


class TooLongError(Exception):
    """A pickle has too many steps."""


def tensors(value: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of the tensors in the container that holds most of them."""
    return max(_mappings(value), key=len, default={})


def _mappings(value: Any) -> Iterator[dict[str, tuple[int, ...]]]:
    for items in _containers(value):
        if isinstance(items, dict):
            shapes = {k: _shape(v) for k, v in items.items() if isinstance(k, str)}
            yield {k: shape for k, shape in shapes.items() if shape is not None}


def _containers(value: Any) -> Iterator[Any]:
    """Every dict, list and tuple in a value, each once."""
    seen: set[int] = set()
    queue = [value]
    while queue:
        container = queue.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        items = container.items if isinstance(container, Call) else container
        if isinstance(items, (dict, list, tuple)):
            yield items
            queue += items.values() if isinstance(items, dict) else items


def _shape(value: Any) -> tuple[int, ...] | None:
    """Of a tensor that would be rebuilt; ``None`` for anything else."""
    while (parts := rebuilt(value)) is not None:
        function, arguments = parts
        if function.startswith("torch._utils._rebuild_parameter"):
            value = arguments[0] if arguments else None
        else:
            shape = arguments[2] if len(arguments) > 2 else None
            whole = isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)
            return shape if whole else None
    return None


def rebuilt(value: Any) -> tuple[str, tuple[Any, ...]] | None:
    """The function of `_REBUILT` that a call is of, and its arguments."""
    if not isinstance(value, Call):
        return None
    function, arguments = value.function, value.arguments
    if isinstance(function, Global) and function.name == "torch._tensor._rebuild_from_type_v2":
        # Of a tensor with attributes: the function and its arguments are arguments.
        if not isinstance(arguments, tuple) or len(arguments) < 3:
            return None
        function, _, arguments = arguments[:3]
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        return None
    return (function.name, arguments) if _REBUILT.fullmatch(function.name) else None


def length(value: Any) -> int:
    """Of a container or a text, and 0 of anything else."""
    items = value.items if isinstance(value, Call) else value
    return len(items) if isinstance(items, (str, bytes, bytearray, list, tuple, dict)) else 0


def key_steps(key: Any) -> int:
    """Steps that putting a key into a hash table counts as."""
    plain = isinstance(key, (str, bytes)) or (isinstance(key, int) and abs(key) < 2**32)
    return 1 if plain else _KEY_STEPS
