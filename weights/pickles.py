"""Follow a pickle without running it.

A pickle is a program that builds objects by calling whatever it names. Here its opcodes
are followed with placeholders instead of calls: enough to see which arrays a checkpoint
holds and what it would import, and nothing of it is executed.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

#: First of the pickles in a file of ``torch.save`` before version 1.6.
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
#: A file of that kind is five pickles in a row, then the numbers.
_MOST_PICKLES = 5
#: More is not followed. A checkpoint of a thousand tensors, with an optimiser's, takes a
#: tenth; a few bytes in an archive can unpack to any number.
_MOST_STEPS, _MOST_BYTES = 1_000_000, 64 << 20

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
    |numpy\.(ndarray|dtype)
    |numpy\.dtypes\.\w+DType
    |numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)""",
    re.VERBOSE,
)
_MARK = object()


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


@dataclass
class Pickled:
    """What a file of pickles holds.

    Attributes:
        values: of each whole pickle: containers, numbers, texts, and placeholders.
        imports: every name that it would import, in order, without repetition.
        texts: every text in it.
        whole: whether the first pickle (or, of torch's old format, all five) ended, within
            what is followed.
    """

    values: list[Any] = field(default_factory=list)
    imports: dict[str, None] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    whole: bool = True

    @property
    def code(self) -> tuple[str, ...]:
        """Imports that are not data."""
        return tuple(name for name in self.imports if not _DATA.fullmatch(name))


def follow(stream: IO[bytes]) -> Pickled:
    """Follow the pickles of a stream. Never raises for what is in them."""
    found = Pickled()
    limited: Any = _Limited(stream)
    for _ in range(_MOST_PICKLES):
        try:
            found.values.append(_Follower(found).follow(limited))
        except Exception:  # a damaged pickle fails in many ways; what came before still tells
            found.whole = False
            break
        if found.values[0] != TORCH_MAGIC:
            break  # behind a plain pickle anything may come
    return found


def tensors(value: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of the tensors in the container that holds most of them."""
    return max(_mappings(value), key=len, default={})


def _mappings(value: Any) -> Iterator[dict[str, tuple[int, ...]]]:
    seen: set[int] = set()
    queue = [value]
    while queue:
        container = queue.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        items = container.items if isinstance(container, Call) else container
        if isinstance(items, dict):
            shapes = {k: _shape(v) for k, v in items.items() if isinstance(k, str)}
            yield {k: shape for k, shape in shapes.items() if shape is not None}
            queue += items.values()
        elif isinstance(items, (list, tuple)):
            queue += items


def _shape(value: Any) -> tuple[int, ...] | None:
    """Of a tensor that would be rebuilt; ``None`` for anything else."""
    while isinstance(value, Call) and isinstance(value.function, Global):
        function, arguments = value.function.name, value.arguments
        if not isinstance(arguments, tuple):
            return None
        if function.startswith("torch._utils._rebuild_parameter") and arguments:
            value = arguments[0]
        elif function.startswith("torch._utils._rebuild_tensor") and len(arguments) > 2:
            shape = arguments[2]
            whole = isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)
            return shape if whole else None
        else:
            return None
    return None


class _Limited:
    """The part of a stream that is read, as `pickletools` reads it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _MOST_BYTES
        self._steps = _MOST_STEPS

    def step(self) -> None:
        """Before each opcode."""
        self._steps -= 1
        if self._steps < 0:
            raise ValueError("too long")

    def read(self, count: int) -> bytes:
        """See `io.BufferedIOBase.read`."""
        return self._taken(self._stream.read(min(count, self._left + 1)))

    def readline(self) -> bytes:
        """See `io.IOBase.readline`."""
        return self._taken(self._stream.readline(self._left + 1))

    def _taken(self, part: bytes) -> bytes:
        self._left -= len(part)
        if self._left < 0:
            raise ValueError("too long")
        return part


class _Follower:
    """One pickle: a stack, a memo, and placeholders for all that would be called."""

    def __init__(self, found: Pickled) -> None:
        self.found = found
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def follow(self, stream: Any) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            stream.step()
            if opcode.name == "STOP":
                return self.stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME" | "READONLY_BUFFER":
                pass
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_SET":
                stack.append({"TUPLE": (), "LIST": [], "DICT": {}, "SET": []}[name[6:]])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "LIST" | "FROZENSET":
                stack.append(self._since_mark())
            case "DICT":
                items: dict[Any, Any] = {}
                self._set(items, self._since_mark())
                stack.append(items)
            case "APPEND":
                self._append([stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self._append(self._since_mark())
            case "SETITEM":
                pair = [stack.pop(), stack.pop()][::-1]
                self._set(stack[-1], pair)
            case "SETITEMS":
                pairs = self._since_mark()
                self._set(stack[-1], pairs)
            case "BUILD":
                stack.pop()
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[int(argument)])
            case "GLOBAL":
                stack.append(self._import(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self._import(module, attribute))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(self._import("copyreg extension", argument))
            case "INST":
                arguments = tuple(self._since_mark())
                stack.append(Call(self._import(*argument.split(" ", 1)), arguments))
            case "OBJ":
                function, *rest = self._since_mark()
                stack.append(Call(function, tuple(rest)))
            case "REDUCE" | "NEWOBJ":
                arguments = stack.pop()
                stack.append(Call(stack.pop(), arguments))
            case "NEWOBJ_EX":
                stack.pop()
                arguments = stack.pop()
                stack.append(Call(stack.pop(), arguments))
            case "BINPERSID":
                stack.append(Call("storage", stack.pop()))
            case "PERSID" | "NEXT_BUFFER":
                stack.append(Call("storage", argument))
            case _:  # what is left puts a number, a text or bytes on the stack
                if isinstance(argument, str):
                    self.found.texts.append(argument)
                stack.append(argument)

    def _import(self, module: Any, attribute: Any) -> Global:
        # A name that is itself computed can be anything, and is never data.
        texts = isinstance(module, str) and isinstance(attribute, (str, int))
        name = f"{module}.{attribute}" if texts else "a computed name"
        self.found.imports[name] = None
        return Global(name)

    def _since_mark(self) -> list[Any]:
        taken: list[Any] = []
        while (top := self.stack.pop()) is not _MARK:
            taken.append(top)
        return taken[::-1]

    def _append(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    @staticmethod
    def _set(target: Any, pairs: list[Any]) -> None:
        items = target.items if isinstance(target, Call) else target
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(items, dict) and isinstance(key, (str, int, float)):
                items[key] = value
