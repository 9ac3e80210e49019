"""Build dataclasses from data that somebody else wrote, checking every field's type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decode(kind: type[T], data: Any, where: str = "") -> T:
    """Build a dataclass from JSON data, checking every field's type.

    Args:
        kind: the dataclass; its fields may be numbers, texts, ``None``, literals, lists,
            tuples, objects of one kind of value, and other dataclasses.
        data: what `json.loads` gave.
        where: the place of the data, for errors.

    Raises:
        TypeError, ValueError: a field is missing, unknown, or of another type or value;
            the message names it.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"{where or 'the whole'} must be an object, not {type(data).__name__}")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if extra := sorted(set(data) - set(known)):
        raise ValueError(f"unknown field {where}{extra[0]}")
    for name, f in known.items():
        if name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"field {where}{name} is missing")
    return kind(**{k: _value(hints[k], v, f"{where}{k}") for k, v in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if type(None) in args:
        if value is None:
            return None
        (inner,) = (a for a in args if a is not type(None))
        return _value(inner, value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} is {value!r}, not one of {', '.join(map(str, args))}")
        return value
    if is_dataclass(hint):
        return decode(hint, value, where + ".")  # type: ignore[arg-type]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} must be an object")
        return {k: _value(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} must be a list")
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) != len(value):
            raise ValueError(f"{where} must have {len(kinds)} values, not {len(value)}")
        return tuple(_value(k, v, where) for k, v in zip(kinds, value, strict=True))
    if origin is list:
        if not isinstance(value, list):
            raise TypeError(f"{where} must be a list")
        return [_value(args[0], v, where) for v in value]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # hundreds of digits
            raise ValueError(f"{where} is beyond any number of 64 bits") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise TypeError(f"{where} must be {hint.__name__}, not {type(value).__name__}")
    return value
