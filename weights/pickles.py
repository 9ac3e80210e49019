"""Follow a pickle without running it.

A pickle is a program that builds objects by calling whatever it names. Here its opcodes
are followed with placeholders instead of calls: enough to see which arrays a checkpoint
holds and what it would import, and nothing of it is executed.

Data can do harm too: a few bytes may ask for an array of any size, or for work without
end. Such steps are noted as flaws, and a pickle of more steps than any checkpoint has is
not followed to its end.
"""

from __future__ import annotations

import math
import pickletools
import re
from typing import IO, Any

from weights.pickled import Call, Global, Pickled, key_steps, length, rebuilt

#: First of the pickles in a file of ``torch.save`` before version 1.6.
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
#: A file of that kind is five pickles in a row, then the numbers.
_MOST_PICKLES = 5
#: Offset, sizes and strides of a tensor; torch has at most 64 axes.
_MOST_NUMBERS = 1 + 2 * 64
#: Bytes that are read; what a few in an archive unpack to may have no end.
_MOST_BYTES = 64 << 20

_MARK = object()
#: What makes, of a number alone, an array of that size.
_SIZED = re.compile(
    r"torch\.(cuda\.)?(sparse\.)?\w*(Storage|Tensor)|torch\._utils\._rebuild_qtensor"
)
_CONTAINERS = re.compile(
    r"collections\.(OrderedDict|Counter|defaultdict)|torch\.Size"
    r"|(builtins|__builtin__)\.(set|frozenset)"
)
#: Bytes of a number by the first letters of its storage's name; others have one.
_BYTES = {
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    "ComplexDouble": 16,
}


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


class _Limited:
    """The part of a stream that is read, as `pickletools` reads it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _MOST_BYTES

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
            self.found.spend(1)
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
                state = stack.pop()
                self.found.spend(length(state))
                if isinstance(stack[-1], Call) and "ensor" in stack[-1].name:
                    self.found.mark("a tensor's storage would be exchanged", stack[-1])
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
                stack.append(self._call(self._import(*argument.split(" ", 1)), arguments))
            case "OBJ":
                function, *rest = self._since_mark()
                stack.append(self._call(function, tuple(rest)))
            case "REDUCE" | "NEWOBJ":
                arguments = stack.pop()
                stack.append(self._call(stack.pop(), arguments))
            case "NEWOBJ_EX":
                stack.pop()
                arguments = stack.pop()
                stack.append(self._call(stack.pop(), arguments))
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
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

    def _call(self, function: Any, arguments: Any) -> Call:
        """A call, not made: noted where making it would take what it likes."""
        made, found = Call(function, arguments), self.found
        name = made.name
        given = arguments if isinstance(arguments, tuple) else ()
        for one in given:
            found.spend(length(one))
        if _SIZED.fullmatch(name):
            found.mark(f"{name} would make an array of any size", made)
        elif _CONTAINERS.fullmatch(name):
            for one in given:
                items = one.items if isinstance(one, Call) else one
                found.spend(sum(map(key_steps, items)) if isinstance(items, (list, dict)) else 0)
                if isinstance(one, Call) and not _CONTAINERS.fullmatch(one.name):
                    found.mark(f"{name} would be made of {one.name}", made)
        elif name.endswith(".bytearray") and given and not isinstance(given[0], (str, bytes)):
            found.mark(f"{name} would make an array of any size", made)
        elif name == "torch._tensor._rebuild_from_type_v2" and rebuilt(made) is None:
            found.mark("a tensor would be rebuilt in an unknown way", made)
        elif (parts := rebuilt(made)) is not None:
            self._check_tensor(made, *parts)
        return made

    def _check_tensor(self, made: Call, function: str, arguments: tuple[Any, ...]) -> None:
        """A tensor has to lie within its storage, each number of it once at most."""
        if "_parameter" in function:
            return
        storage, offset, shape, strides = (*arguments, *[None] * 4)[:4]
        tuples = isinstance(shape, tuple) and isinstance(strides, tuple)
        numbers = (offset, *shape, *strides) if tuples else (None,)
        many = len(numbers) > _MOST_NUMBERS
        if many or not all(isinstance(n, int) and 0 <= n < 1 << 63 for n in numbers):
            self.found.mark("a tensor has no shape", made)
            return
        given = storage.arguments if isinstance(storage, Call) else ()
        held = given[4] if isinstance(given, tuple) and len(given) > 4 else None
        count = math.prod(shape)
        reach = offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
        if not isinstance(held, int) or count > held or (count and reach > held):
            self.found.mark(f"it declares {count:,} numbers, and its storage holds {held}", made)

    def _storage(self, identity: Any) -> Call:
        if isinstance(identity, tuple) and len(identity) > 4:
            kind, key, count = identity[1], identity[2], identity[4]
            name = kind.name.rpartition(".")[2] if isinstance(kind, Global) else ""
            size = _BYTES.get(name.removesuffix("Storage"), 1)
            if isinstance(key, (str, int)) and isinstance(count, int) and count >= 0:
                known = self.found.storages.get(key, 0)
                self.found.storages[key] = max(known, count * size)
            else:
                self.found.mark("a storage has no size")
        return Call("storage", identity)

    def _since_mark(self) -> list[Any]:
        taken: list[Any] = []
        while (top := self.stack.pop()) is not _MARK:
            taken.append(top)
        return taken[::-1]

    def _append(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def _set(self, target: Any, pairs: list[Any]) -> None:
        self.found.spend(sum(map(key_steps, pairs[::2])))
        items = target.items if isinstance(target, Call) else target
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(items, dict) and isinstance(key, (str, int, float)):
                items[key] = value
