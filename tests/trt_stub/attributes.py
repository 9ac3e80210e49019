"""Which attributes of TensorRT objects a module touches, read from its source.

The classes are those imported from ``tensorrt`` or ``tensorrt_rtx`` under ``TYPE_CHECKING``;
``ModuleType`` stands for TensorRT itself. Names get their class from annotations (arguments,
variables, ``self``, what functions return). An attribute on a value of unknown class is an
error, so nothing that belongs to TensorRT can be overlooked: annotate the value.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, replace

FLAVOURS = frozenset({"tensorrt", "tensorrt_rtx"})
GUARDS = {"TENSORRT": "tensorrt", "TENSORRT_RTX": "tensorrt_rtx"}
MODULE = "<module>"

#: Built-in functions whose result may hold what they were given.
HOLDERS = frozenset(
    [
        "dict",
        "enumerate",
        "filter",
        "iter",
        "list",
        "map",
        "max",
        "min",
        "next",
        "reversed",
        "set",
        "sorted",
        "tuple",
        "zip",
    ]
)


class UnresolvedError(Exception):
    """An attribute is touched on a value whose class the annotations do not tell."""


@dataclass(frozen=True)
class Touch:
    """``owner`` is a class of TensorRT's or `MODULE`; ``flavours`` those that get there."""

    owner: str
    attribute: str
    flavours: frozenset[str]
    line: int


@dataclass(frozen=True)
class Kind:
    """What a value is: of TensorRT (``trt``), of the module itself (``own``), else ``plain``."""

    sort: str
    name: str = ""


PLAIN, UNKNOWN = Kind("plain"), Kind("unknown")
MODULE_KIND = Kind("trt", MODULE)


@dataclass(frozen=True)
class Scope:
    names: dict[str, Kind]
    flavours: frozenset[str] = FLAVOURS


def touched(source: str) -> list[Touch]:
    """Every attribute of TensorRT that the source touches, with the flavours that get there.

    Code in ``if x.flavour is Flavour.TENSORRT_RTX`` belongs to that flavour alone.

    Raises:
        UnresolvedError: see the module's docstring.
    """
    return _Walker(ast.parse(source)).touches


class _Walker:
    def __init__(self, tree: ast.Module) -> None:
        self.touches: list[Touch] = []
        self.classes: dict[str, frozenset[str]] = {}  # TensorRT's, by the flavours that have it
        self.own: dict[str, dict[str, Kind]] = {}  # classes of the module: their attributes
        self.returns: dict[str, Kind] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in FLAVOURS:
                flavours = FLAVOURS if node.module == "tensorrt" else frozenset({node.module})
                self.classes |= {alias.name: flavours for alias in node.names}
            elif isinstance(node, ast.Import):
                assert not {a.name for a in node.names} & FLAVOURS, "import through importlib"
        top: dict[str, Kind] = {}
        definitions = [n for n in tree.body if isinstance(n, ast.ClassDef)]
        self.own = {node.name: {} for node in definitions}
        for node in definitions:
            self.own[node.name] = self._attributes(node)
        for item in tree.body:
            if isinstance(item, (ast.Import, ast.ImportFrom)):
                top |= {(a.asname or a.name).split(".")[0]: PLAIN for a in item.names}
            elif isinstance(item, ast.FunctionDef):
                self.returns[item.name] = self._annotation(item.returns)
                top[item.name] = PLAIN
            elif isinstance(item, ast.ClassDef):
                top[item.name] = PLAIN
            elif isinstance(item, ast.Assign):
                top |= {t.id: PLAIN for t in item.targets if isinstance(t, ast.Name)}
        self._block(tree.body, Scope(top))

    def _attributes(self, node: ast.ClassDef) -> dict[str, Kind]:
        """Annotated attributes of a class; methods and the rest are plain."""
        found: dict[str, Kind] = {}
        for item in ast.walk(node):
            if isinstance(item, ast.FunctionDef):
                found[item.name] = PLAIN
                self.returns[f"{node.name}.{item.name}"] = self._annotation(item.returns)
            elif isinstance(item, ast.AnnAssign):
                target = item.target
                if isinstance(target, ast.Attribute) and _is_name(target.value, "self"):
                    found[target.attr] = self._annotation(item.annotation)
        arguments: dict[str, Kind] = {}
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                arguments = self._arguments(item)
        for item in ast.walk(node):
            if isinstance(item, ast.Assign):
                for place in item.targets:
                    if isinstance(place, ast.Attribute) and _is_name(place.value, "self"):
                        # Without an annotation only an argument's class is known.
                        known = isinstance(item.value, ast.Name) and item.value.id in arguments
                        kind = arguments[item.value.id] if known else UNKNOWN  # type: ignore
                        found.setdefault(place.attr, kind)
        return found

    def _arguments(self, node: ast.FunctionDef | ast.Lambda) -> dict[str, Kind]:
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        return {a.arg: self._annotation(a.annotation) for a in every}

    def _annotation(self, node: ast.expr | None) -> Kind:
        if node is None:
            return UNKNOWN
        mentioned = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if isinstance(node, ast.BinOp):  # X | None
            parts = [self._annotation(p) for p in (node.left, node.right)]
            return next((p for p in parts if p != PLAIN), PLAIN)
        if isinstance(node, ast.Name):
            if node.id == "ModuleType":
                return MODULE_KIND
            if node.id in self.classes:
                return Kind("trt", node.id)
            return Kind("own", node.id) if node.id in self.own else PLAIN
        # A container of TensorRT's objects is plain itself; see `_element`.
        return Kind("container") if mentioned & set(self.classes) else PLAIN

    # Statements

    def _block(self, body: list[ast.stmt], scope: Scope) -> None:
        for node in body:
            self._statement(node, scope)

    def _statement(self, node: ast.stmt, scope: Scope) -> None:
        if isinstance(node, ast.FunctionDef):
            self._function(node, scope, None)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope)
        elif isinstance(node, ast.If):
            flavour = _guard(node.test)
            self._expressions(node.test, scope)
            inside, outside = (
                (scope.flavours & {flavour}, scope.flavours - {flavour})
                if flavour
                else (scope.flavours, scope.flavours)
            )
            # `and` beside the guard: the other branch is open to either flavour.
            other = scope.flavours if isinstance(node.test, ast.BoolOp) else outside
            self._block(node.body, replace(scope, flavours=inside))
            self._block(node.orelse, replace(scope, flavours=other))
        elif isinstance(node, ast.AnnAssign):
            if isinstance(node.target, ast.Name):
                scope.names[node.target.id] = self._annotation(node.annotation)
            else:
                self._expressions(node.target, scope)
            if node.value is not None:
                self._expressions(node.value, scope)
        elif isinstance(node, ast.Assign):
            self._expressions(node.value, scope)
            kind = self._kind(node.value, scope)
            for target in node.targets:
                self._bind(target, kind, scope)
                if not isinstance(target, (ast.Name, ast.Tuple)):
                    self._expressions(target, scope)
        elif isinstance(node, ast.For):
            self._expressions(node.iter, scope)
            self._bind(node.target, self._element(node.iter, scope), scope)
            self._block([*node.body, *node.orelse], scope)
        elif isinstance(node, ast.Try):
            self._block(node.body, scope)
            for handler in node.handlers:
                if handler.name:
                    scope.names[handler.name] = PLAIN
                self._block(handler.body, scope)
            self._block([*node.orelse, *node.finalbody], scope)
        elif isinstance(node, (ast.With, ast.While, ast.Match)):
            raise UnresolvedError(f"line {node.lineno}: the walker does not know this statement")
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self._expressions(child, scope)

    def _bind(self, target: ast.expr, kind: Kind, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            # An annotation stays: `x: T` before a loop says what the loop binds.
            scope.names.setdefault(target.id, kind)
            if kind.sort == "unknown" and scope.names[target.id].sort == "plain":
                scope.names[target.id] = kind
        elif isinstance(target, ast.Tuple):
            for part in target.elts:
                self._bind(part, kind if kind == PLAIN else UNKNOWN, scope)

    def _function(self, node: ast.FunctionDef, scope: Scope, owner: str | None) -> None:
        names = scope.names | self._arguments(node)
        if owner is not None:
            names["self"] = Kind("own", owner)
        for decorator in node.decorator_list:
            self._expressions(decorator, scope)
        self._block(node.body, Scope(names, scope.flavours))

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        bases = [b for b in node.bases if self._kind(b, scope).sort == "trt"]
        for base in node.bases:
            self._expressions(base, scope)
        if node.name not in self.own:
            self.own[node.name] = self._attributes(node)
        for item in node.body:
            if isinstance(item, ast.FunctionDef):
                for base in bases:  # what TensorRT calls must be there to be overridden
                    self._touch(self._kind(base, scope).name, item.name, scope, item.lineno)
                self._function(item, scope, node.name)
            else:
                self._statement(item, scope)

    # Expressions

    def _expressions(self, node: ast.AST, scope: Scope) -> None:
        """Record every attribute in an expression."""
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            scope = Scope(dict(scope.names), scope.flavours)
            for generator in node.generators:
                self._bind(generator.target, self._element(generator.iter, scope), scope)
        elif isinstance(node, ast.Lambda):
            scope = Scope(scope.names | self._arguments(node), scope.flavours)
        elif isinstance(node, ast.NamedExpr):
            self._bind(node.target, self._kind(node.value, scope), scope)
        elif isinstance(node, ast.Call) and _is_name(node.func, "getattr", "hasattr", "setattr"):
            if self._kind(node.args[0], scope) != PLAIN:
                raise UnresolvedError(f"line {node.lineno}: {node.func.id} hides a name")  # type: ignore[attr-defined]
        elif isinstance(node, ast.Attribute):
            owner = self._kind(node.value, scope)
            if owner.sort == "trt":
                self._touch(owner.name, node.attr, scope, node.lineno)
            elif owner.sort not in ("plain", "own", "container"):
                raise UnresolvedError(
                    f"line {node.lineno}: annotate what '{ast.unparse(node.value)}' is, "
                    f"for '.{node.attr}' is touched on it"
                )
        for child in ast.iter_child_nodes(node):
            self._expressions(child, scope)

    def _touch(self, owner: str, attribute: str, scope: Scope, line: int) -> None:
        self.touches.append(Touch(owner, attribute, scope.flavours, line))

    def _kind(self, node: ast.expr, scope: Scope) -> Kind:
        if isinstance(node, ast.Name):
            if node.id in scope.names:
                return scope.names[node.id]
            return PLAIN if hasattr(builtins, node.id) or node.id.startswith("__") else UNKNOWN
        if isinstance(node, ast.Attribute):
            owner = self._kind(node.value, scope)
            if owner.sort == "plain":
                return PLAIN
            if owner.sort == "own":
                return self.own[owner.name].get(node.attr, UNKNOWN)
            # `trt.DataType` is a class of that name; what a class's attribute is, is not told.
            return Kind("trt", node.attr) if owner == MODULE_KIND else UNKNOWN
        if isinstance(node, ast.Call):
            if _is_name(node.func, *HOLDERS):
                held = {self._kind(argument, scope) for argument in node.args}
                return PLAIN if held <= {PLAIN} else Kind("container")
            return self._called(node.func, scope)
        if isinstance(node, (ast.BoolOp, ast.IfExp)):
            parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
            kinds = {self._kind(part, scope) for part in parts}
            return kinds.pop() if len(kinds) == 1 else UNKNOWN
        if isinstance(node, ast.Subscript):
            return self._element(node.value, scope)
        if isinstance(node, (ast.NamedExpr, ast.Starred)):
            return self._kind(node.value, scope)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            held = {self._kind(element, scope) for element in node.elts}
            return PLAIN if held <= {PLAIN} else Kind("container")
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            inner = Scope(dict(scope.names), scope.flavours)
            for generator in node.generators:
                self._bind(generator.target, self._element(generator.iter, inner), inner)
            return PLAIN if self._kind(node.elt, inner) == PLAIN else Kind("container")
        return PLAIN  # literals, comparisons, arithmetic

    def _called(self, function: ast.expr, scope: Scope) -> Kind:
        if isinstance(function, ast.Name):
            if function.id in self.own:
                return Kind("own", function.id)
            return self.returns.get(function.id) or self._kind(function, scope)
        owner = self._kind(function.value, scope) if isinstance(function, ast.Attribute) else None
        if owner == MODULE_KIND:
            return Kind("trt", function.attr)  # type: ignore[attr-defined]
        if owner is not None and owner.sort == "own":
            return self.returns.get(f"{owner.name}.{function.attr}", UNKNOWN)  # type: ignore[attr-defined]
        return PLAIN if owner is not None and owner.sort == "plain" else UNKNOWN

    def _element(self, node: ast.expr, scope: Scope) -> Kind:
        """What iterating over a value, or indexing it, gives."""
        return PLAIN if self._kind(node, scope) == PLAIN else UNKNOWN


def _is_name(node: ast.expr, *names: str) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _guard(test: ast.expr) -> str | None:
    """The flavour that a condition asks for: ``X is Flavour.Y``, alone or first of an ``and``."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        test = test.values[0]
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is):
        right = test.comparators[0]
        if isinstance(right, ast.Attribute) and _is_name(right.value, "Flavour"):
            return GUARDS[right.attr]
    return None


def classes(touches: list[Touch]) -> Iterator[str]:
    """The classes of TensorRT's that are touched, each once."""
    yield from sorted({t.owner for t in touches} - {MODULE})
