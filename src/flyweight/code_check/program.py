"""A syntax tree with an index: what each name stands for where it is used, and who is called with what.

Assignments are followed as far as a reader would follow them: the last one before a use, several where branches
differ, arguments through the calls of a function. What cannot be followed stands for itself. Nothing here knows what
a data set or a net is.
"""

from __future__ import annotations

import ast
import functools
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Scope: TypeAlias = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Place: TypeAlias = tuple[int, int]
Key: TypeAlias = str
NodeT = TypeVar("NodeT", bound=ast.AST)
DefinedT = TypeVar("DefinedT", ast.ClassDef, Function)
Given = ParamSpec("Given")
Found = TypeVar("Found")

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES: Final = (ast.Module, *FUNCTIONS, ast.ClassDef)
_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While)
_BRANCHES: Final = (*_LOOPS, ast.If, ast.Try, ast.TryStar, ast.ExceptHandler, ast.Match, ast.match_case)
# The whole tree shares one object of each, so they have no single parent.
_SINGLE: Final = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
# How far a name is followed; no program that a person reads needs more.
MAX_STEPS: Final = 16
MAX_VALUES: Final = 16
# Calls of one function, and assignments to one name, that are followed; more values than MAX_VALUES are unknown.
MAX_CALLS: Final = MAX_VALUES + 1
MAX_BINDINGS: Final = 100
# How deep calls that contain each other are followed.
MAX_DEPTH: Final = 8
_END: Final[Place] = (10**9, 0)


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A name gets a value. value: None where it is not followed; item: which part of it, where it is unpacked.

    at: the end of the statement, since its right side still sees the old value.
    """

    at: Place
    node: ast.AST
    value: ast.expr | None
    item: int | None = None


@dataclass(frozen=True, kw_only=True)
class Value:
    """What an expression may stand for, and which part of it."""

    node: ast.expr
    item: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """The tree and its index.

    parents: of each node, with the field it stands in; cache: what `values` has found; memory: of `remembered`.
    """

    tree: ast.Module
    parents: Mapping[ast.AST, tuple[ast.AST, str]]
    nodes: Mapping[type[ast.AST], Sequence[ast.AST]]
    cache: dict[ast.expr, tuple[Value, ...]] = field(default_factory=dict)
    memory: dict[tuple[object, ...], Any] = field(default_factory=dict)

    @cached_property
    def functions_in_order(self) -> Sequence[Function]:
        return (*self.every(ast.FunctionDef), *self.every(ast.AsyncFunctionDef))

    @cached_property
    def functions(self) -> Mapping[str, Sequence[Function]]:
        """Functions and methods by name."""
        return _by_name((made.name, made) for made in self.functions_in_order)

    @cached_property
    def classes(self) -> Mapping[str, Sequence[ast.ClassDef]]:
        return _by_name((made.name, made) for made in self.every(ast.ClassDef))

    @cached_property
    def calls(self) -> Mapping[str, Sequence[ast.Call]]:
        """Calls by the last name of what is called."""
        return _by_name((last_name(call.func), call) for call in self.every(ast.Call))

    @cached_property
    def bindings(self) -> Mapping[tuple[ast.AST, Key], Sequence[Binding]]:
        return _bindings(self)

    def every(self, kind: type[NodeT]) -> Iterator[NodeT]:
        """All nodes of a kind, in the order of the lines."""
        return (node for node in self.nodes.get(kind, ()) if isinstance(node, kind))

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, the nearest first."""
        while node in self.parents:
            node = self.parents[node][0]
            yield node

    def scope(self, node: ast.AST) -> Scope:
        """The function, class or program that a node is in."""
        return next(outer for outer in self.ancestors(node) if isinstance(outer, _SCOPES))

    @cached_property
    def calls_of_functions(self) -> Mapping[Function, Sequence[ast.Call]]:
        """The calls of each function of the program."""
        found: dict[Function, list[ast.Call]] = defaultdict(list)
        for call in self.every(ast.Call):
            for made in functions_of(self, call):
                found[made].append(call)
        return found

    @cached_property
    def calls_of_classes(self) -> Mapping[ast.ClassDef, Sequence[ast.Call]]:
        """The calls that make an object of each class; of a class that is defined again, those before that."""
        found: dict[ast.ClassDef, list[ast.Call]] = defaultdict(list)
        for name, made in self.classes.items():
            for call in self.calls.get(name, ()):
                found[last_before(made, call)].append(call)
        return found

    @cached_property
    def uses(self) -> Mapping[str, Sequence[ast.Name]]:
        """Where the value of each name is used."""
        return _by_name((used.id, used) for used in self.every(ast.Name) if isinstance(used.ctx, ast.Load))

    @cached_property
    def stores(self) -> Mapping[Key, Sequence[Place]]:
        """Where each name or attribute is given a value, in the order of the lines."""
        found: dict[Key, list[Place]] = defaultdict(list)
        named: tuple[ast.Name | ast.Attribute, ...] = (*self.every(ast.Name), *self.every(ast.Attribute))
        for node in named:
            if isinstance(node.ctx, ast.Store) and (key := key_of(node)) is not None:
                found[key].append(begin(node))
        for places in found.values():
            places.sort()
        return found

    def called(self, *names: str) -> list[ast.Call]:
        """The calls of functions, methods or classes of these last names, in the order of the lines."""
        return sorted((call for name in names for call in self.calls.get(name, ())), key=begin)

    def loads(self, name: str) -> list[ast.Name]:
        """Where the value of a name is used."""
        return list(self.uses.get(name, ()))


def remembered(function: Callable[Concatenate[Program, Given], Found]) -> Callable[Concatenate[Program, Given], Found]:
    """A function of a program that computes each of its results once."""

    @functools.wraps(function)
    def known(program: Program, /, *args: Given.args, **kwargs: Given.kwargs) -> Found:
        key = (function, *args, *kwargs.items())
        if key not in program.memory:
            program.memory[key] = function(program, *args, **kwargs)
        found: Found = program.memory[key]
        return found

    return known


def last_before(made: Sequence[DefinedT], node: ast.AST) -> DefinedT:
    """The last of several definitions of a name before a node; the last of all where none is before it."""
    number = bisect_left(made, begin(node), key=begin)
    return made[number - 1]


def program_of(tree: ast.Module) -> Program:
    """Index a tree."""
    parents: dict[ast.AST, tuple[ast.AST, str]] = {}
    order: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        order.append(node)
        inner: list[ast.AST] = []
        for name in node._fields:
            value = getattr(node, name, None)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, ast.AST) and not isinstance(child, _SINGLE):
                    parents[child] = (node, name)
                    inner.append(child)
        waiting += reversed(inner)
    return Program(tree=tree, parents=parents, nodes=_number(order, parents))


class _Numbered(NamedTuple):
    """Where a node stands in the order of the tree. behind: the number after its last inner node.

    kinds: of the whole tree, the nodes of each kind with their numbers.
    """

    first: int
    behind: int
    kinds: Mapping[type[ast.AST], tuple[Sequence[int], Sequence[ast.AST]]]

    def __deepcopy__(self, memo: object) -> None:
        """A copied node stands nowhere in the tree."""


def _number(
    order: Sequence[ast.AST], parents: Mapping[ast.AST, tuple[ast.AST, str]]
) -> dict[type[ast.AST], list[ast.AST]]:
    """Number all nodes in their order in the tree, so that those of a kind within a node are found without a walk.

    Returns the nodes of each kind in the order of the lines.
    """
    sizes = dict.fromkeys(order, 1)
    for node in reversed(order[1:]):
        sizes[parents[node][0]] += sizes[node]
    kinds: dict[type[ast.AST], tuple[list[int], list[ast.AST]]] = defaultdict(lambda: ([], []))
    for number, node in enumerate(order):
        numbers, found = kinds[type(node)]
        numbers.append(number)
        found.append(node)
        node._numbered = _Numbered(number, number + sizes[node], kinds)  # type: ignore[attr-defined]
    return {kind: sorted(found, key=begin) for kind, (_, found) in kinds.items()}


def _by_name(named: Iterable[tuple[str, NodeT]]) -> dict[str, list[NodeT]]:
    found: dict[str, list[NodeT]] = defaultdict(list)
    for name, node in named:
        found[name].append(node)
    return found


def begin(node: ast.AST) -> Place:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def end(node: ast.AST) -> Place:
    return getattr(node, "end_lineno", None) or _END[0], getattr(node, "end_col_offset", None) or 0


def plain(expr: ast.expr) -> ast.expr:
    """The tensor of `tensor.item()`, `float(tensor)` and the like; an expression of another form as it is."""
    if isinstance(expr, ast.Attribute) and expr.attr == "data":
        return plain(expr.value)
    if not isinstance(expr, ast.Call):
        return expr
    if isinstance(expr.func, ast.Attribute) and expr.func.attr in ("item", "detach", "cpu", "numpy"):
        return plain(expr.func.value)
    is_converted = isinstance(expr.func, ast.Name) and expr.func.id in ("float", "int") and expr.args
    return plain(expr.args[0]) if is_converted else expr


def last_name(expr: ast.AST) -> str:
    """`relu` of `torch.nn.functional.relu`; empty where there is no name."""
    if isinstance(expr, ast.Attribute):
        return expr.attr
    return expr.id if isinstance(expr, ast.Name) else ""


def key_of(expr: ast.AST) -> Key | None:
    """The key of a plain name (`x`) or of an attribute of one (`self.x`); None for everything else."""
    if isinstance(expr, ast.Name):
        return expr.id
    if isinstance(expr, ast.Attribute) and isinstance(expr.value, ast.Name):
        return f"{expr.value.id}.{expr.attr}"
    return None


def within(node: ast.AST | Sequence[ast.stmt], kind: type[NodeT]) -> Iterator[NodeT]:
    """All nodes of a kind in a node or in statements, the node itself too."""
    for root in node if isinstance(node, Sequence) else [node]:
        known: _Numbered | None = getattr(root, "_numbered", None)
        if known is None:
            yield from (inner for inner in ast.walk(root) if isinstance(inner, kind))
            continue
        numbers, found = known.kinds.get(kind, ((), ()))
        for inner in found[bisect_left(numbers, known.first) : bisect_left(numbers, known.behind)]:
            if isinstance(inner, kind):
                yield inner


def called_names(node: ast.AST | Sequence[ast.stmt]) -> set[str]:
    """The last names of all calls in a node or in statements."""
    return {last_name(call.func) for call in within(node, ast.Call)}


def calls_within(node: ast.AST, *names: str) -> list[ast.Call]:
    """The calls of functions or methods of these last names in a node."""
    return [call for call in within(node, ast.Call) if last_name(call.func) in names]


def method_calls(node: ast.AST, method: str) -> list[tuple[ast.Call, ast.expr]]:
    """The calls of a method in a node, each with the object that it is called on."""
    calls = calls_within(node, method)
    return [(call, call.func.value) for call in calls if isinstance(call.func, ast.Attribute)]


def targets(assigns: Iterable[ast.Assign]) -> Iterator[tuple[ast.Assign, ast.expr]]:
    """Each assignment with each thing that it assigns to."""
    return ((assign, target) for assign in assigns for target in assign.targets)


def argument_line(call: ast.Call, *names: str) -> int:
    """The line of the argument with one of these names; that of the call where it has none."""
    return next((one.value.lineno for one in call.keywords if one.arg in names), call.lineno)


def all_arguments(call: ast.Call) -> list[ast.expr]:
    """What a call is given, by position or by name."""
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _bindings(program: Program) -> dict[tuple[ast.AST, Key], list[Binding]]:
    found: dict[tuple[ast.AST, Key], list[Binding]] = defaultdict(list)

    def bind(target: ast.AST, value: ast.expr | None, at: Place, item: int | None = None) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            for number, part in enumerate(target.elts):
                if len(parts) == len(target.elts):
                    bind(part, parts[number], at)
                else:
                    bind(part, value, at, number)
        elif (key := key_of(target)) is not None:
            found[_home(program, target, key), key].append(Binding(at=at, node=target, value=value, item=item))

    for assign, target in targets(program.every(ast.Assign)):
        bind(target, assign.value, end(assign))
    for annotated in program.every(ast.AnnAssign):
        if annotated.value is not None:
            bind(annotated.target, annotated.value, end(annotated))
    for named in program.every(ast.NamedExpr):
        bind(named.target, named.value, end(named))
    for loop in program.every(ast.For):
        # One of what is written out in the head; else unknown.
        for turn in _turns(loop.iter):
            bind(loop.target, turn, end(loop.iter))
    for entered in program.every(ast.withitem):
        if entered.optional_vars is not None:
            bind(entered.optional_vars, entered.context_expr, end(entered.optional_vars))
    for bound in found.values():
        bound.sort(key=lambda binding: binding.at)
    return found


def _turns(listed: ast.expr) -> Sequence[ast.expr | None]:
    is_written = isinstance(listed, (ast.Tuple, ast.List)) and 0 < len(listed.elts) <= MAX_VALUES
    is_plain = is_written and not any(within(listed, ast.Starred))
    return listed.elts if isinstance(listed, (ast.Tuple, ast.List)) and is_plain else [None]


def _home(program: Program, node: ast.AST, key: Key) -> ast.AST:
    """The scope whose name it is; attributes of `self` belong to the class."""
    scope = program.scope(node)
    if key.startswith("self."):
        return next((outer for outer in program.ancestors(node) if isinstance(outer, ast.ClassDef)), scope)
    if isinstance(scope, FUNCTIONS) and any(key in declared.names for declared in within(scope, ast.Global)):
        return program.tree
    return scope


def values(program: Program, expr: ast.expr, _steps: int = 0) -> tuple[Value, ...]:
    """What an expression may stand for; itself, where nothing is known."""
    if _steps > MAX_STEPS:
        return (Value(node=expr),)
    if expr not in program.cache:
        # A name whose value contains the name (x = f(x), in a loop) finds this.
        program.cache[expr] = (Value(node=expr),)
        program.cache[expr] = _resolved(program, expr, _steps)
    return program.cache[expr]


def only_value(program: Program, expr: ast.expr) -> ast.expr | None:
    """The one thing that an expression stands for; None where there are more, or it is a part of something."""
    found = values(program, expr)
    return found[0].node if len(found) == 1 and found[0].item is None else None


def _resolved(program: Program, expr: ast.expr, steps: int) -> tuple[Value, ...]:
    if isinstance(expr, ast.IfExp):
        return _distinct([*values(program, expr.body, steps + 1), *values(program, expr.orelse, steps + 1)])
    if isinstance(expr, ast.Call):
        return _returned(program, Value(node=expr), steps)
    if isinstance(expr, ast.Subscript) and (part := _entry(program, expr, steps)) is not None:
        return values(program, part, steps + 1)
    known: list[Value] = []
    for binding in reaching(program, expr):
        if binding.value is None:
            known.append(Value(node=expr))
        elif binding.item is None:
            known += values(program, binding.value, steps + 1)
        elif isinstance(binding.value, (ast.GeneratorExp, ast.ListComp)):
            # a, b = (f(one) for one in parts)
            known += values(program, binding.value.elt, steps + 1)
        else:
            known += _returned(program, Value(node=binding.value, item=binding.item), steps)
        if len(known) > MAX_VALUES:
            return (Value(node=expr),)
    return _distinct(known) or (Value(node=expr),)


def _entry(program: Program, expr: ast.Subscript, steps: int) -> ast.expr | None:
    """What `loaders["train"]` is, of a dictionary that is written out, or whose entries are all made in one way."""
    name, key = expr.slice, key_of(expr.value)
    if key is None or steps > MAX_STEPS or _is_changed(program, key):
        return None
    found = values(program, expr.value, steps + 1)
    made = found[0].node if len(found) == 1 and found[0].item is None else None
    if isinstance(made, ast.DictComp):
        return made.value
    is_named = isinstance(name, ast.Constant) and isinstance(name.value, str)
    entries = _entries(made) if made is not None and is_named else None
    return entries.get(str(name.value)) if entries and isinstance(name, ast.Constant) else None


def _returned(program: Program, value: Value, steps: int) -> tuple[Value, ...]:
    """What a call of a function of the program returns, if it has one `return`; else the call."""
    call = value.node
    made = functions_of(program, call) if isinstance(call, ast.Call) else []
    if not made or steps > MAX_STEPS:
        return (value,)
    results = [given for given in within(made[-1], ast.Return) if program.scope(given) is made[-1]]
    if len(results) != 1 or results[0].value is None:
        return (value,)
    result = results[0].value
    if value.item is None:
        return values(program, result, steps + 1)
    if isinstance(result, ast.Tuple) and value.item < len(result.elts):
        return values(program, result.elts[value.item], steps + 1)
    return (value,)


def _distinct(found: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(found))


def reaching(program: Program, expr: ast.expr) -> list[Binding]:
    """The assignments that a name or an attribute may have its value from, where it stands."""
    key = key_of(expr)
    if key is None or expr not in program.parents:
        return []
    if key.startswith("self."):
        return list(program.bindings.get((_home(program, expr, key), key), ()))
    uses: list[tuple[ast.AST, Place]] = [(expr, begin(expr))]
    scope = program.scope(expr)
    while True:
        known = program.bindings.get((scope, key), ())
        found, is_sure = _before(program, known, uses)
        if isinstance(scope, FUNCTIONS) and not is_sure and key in parameters(scope):
            return [*found, *_arguments(program, scope, key)]
        if known:
            return found or [known[0]]
        if isinstance(scope, ast.Module):
            return _attributes(program, expr)
        inner, scope = scope, _outer(program, scope)
        uses = _uses(program, inner, scope)


def _attributes(program: Program, expr: ast.expr) -> list[Binding]:
    """What the methods of a class give to an attribute, for `thing.x` of a thing that the class made."""
    if not isinstance(expr, ast.Attribute) or not isinstance(expr.value, ast.Name):
        return []
    made = {
        value.node.func.id
        for value in values(program, expr.value)
        if isinstance(value.node, ast.Call) and isinstance(value.node.func, ast.Name) and value.item is None
    }
    classes = [one for name in sorted(made) for one in program.classes.get(name, ())]
    return [bound for one in classes[:1] for bound in program.bindings.get((one, f"self.{expr.attr}"), ())]


def _before(
    program: Program, known: Sequence[Binding], uses: Sequence[tuple[ast.AST, Place]]
) -> tuple[list[Binding], bool]:
    """The last assignment before each use, and earlier ones while a branch may have skipped the later one.

    Whether each use surely has one of them.
    """
    found: dict[Binding, None] = {}
    is_sure = bool(uses)
    for use, at in uses:
        around = _branches(program, use)
        number = bisect_right(known, at, key=_at)
        for binding in reversed(known[max(0, number - MAX_BINDINGS) : number]):
            found[binding] = None
            if _branches(program, binding.node) <= around:
                break
        else:
            is_sure = False
    return list(found), is_sure


def _at(binding: Binding) -> Place:
    return binding.at


def _branches(program: Program, node: ast.AST) -> set[tuple[ast.AST, str]]:
    """The branches, of those in its scope, that a node is in."""
    around: set[tuple[ast.AST, str]] = set()
    while node in program.parents and not isinstance(node, _SCOPES):
        parent, field = program.parents[node]
        if isinstance(parent, _BRANCHES) and field != "test":
            around.add((parent, field))
        node = parent
    return around


def _outer(program: Program, scope: Scope) -> Scope:
    """The next scope with visible names; methods do not see the names of their class."""
    outer = program.scope(scope)
    while isinstance(outer, ast.ClassDef):
        outer = program.scope(outer)
    return outer


def _uses(program: Program, scope: Scope, outer: Scope) -> list[tuple[ast.AST, Place]]:
    """Where a scope sees the names of the scope around it: a function at its calls, a class where it is made."""
    if isinstance(scope, ast.ClassDef):
        return [(scope, begin(scope))]
    called = calls_of(program, scope)[:MAX_CALLS] if isinstance(scope, FUNCTIONS) else []
    here: list[tuple[ast.AST, Place]] = [(call, begin(call)) for call in called if program.scope(call) is outer]
    return here or [(outer, _END)]


def calls_of(program: Program, function: Function) -> list[ast.Call]:
    """Where a function is called by its name, a method on an object, an `__init__` by the name of its class."""
    around = program.parents[function][0]
    if isinstance(around, ast.ClassDef) and function.name == "__init__":
        return list(program.calls_of_classes.get(around, ()))
    return list(program.calls_of_functions.get(function, ()))


def functions_of(program: Program, call: ast.Call) -> list[Function]:
    """The functions of the program that a call may be of; of one that is defined again, the last before the call."""
    made = _defined(program, last_name(call.func), is_method=isinstance(call.func, ast.Attribute))
    if len(made) > 1 and (isinstance(call.func, ast.Name) or len(made) > MAX_VALUES):
        return [last_before(made, call)]
    return list(made)


@remembered
def _defined(program: Program, name: str, *, is_method: bool) -> Sequence[Function]:
    made = program.functions.get(name, ())
    found = [one for one in made if isinstance(program.parents[one][0], ast.ClassDef) is is_method]
    return sorted(found, key=begin)


def parameters(scope: Scope) -> list[str]:
    """The names of the arguments of a function; none for another scope."""
    if not isinstance(scope, FUNCTIONS):
        return []
    given = scope.args
    return [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def _arguments(program: Program, function: Function, name: str) -> list[Binding]:
    """The values of an argument in all calls of a function; None where a call cannot be followed, or there is none."""
    calls = calls_of(program, function)[:MAX_CALLS]
    found = [argument_of(program, function, call, name) for call in calls] or [None]
    return [Binding(at=begin(function), node=function, value=value) for value in found]


def argument_of(program: Program, function: Function, call: ast.Call, name: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    if names and isinstance(program.parents[function][0], ast.ClassDef):
        names = names[1:]
    if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
        return None
    if name in names and names.index(name) < len(call.args):
        return call.args[names.index(name)]
    return _default(function, name)


def _default(function: Function, name: str) -> ast.expr | None:
    given = function.args
    by_name = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    by_position = zip(reversed([*given.posonlyargs, *given.args]), reversed(given.defaults), strict=False)
    return next((value for one, value in (*by_name, *by_position) if one.arg == name), None)


@dataclass(frozen=True, kw_only=True)
class Option:
    """What an argument of a call may be. is_known: False where some of it is unknown."""

    exprs: tuple[ast.expr, ...] = ()
    may_be_absent: bool = False
    is_known: bool = True


def option(program: Program, call: ast.Call, name: str, position: int | None = None) -> Option:
    """The argument of a call, also out of a dictionary that is passed as `**kwargs`."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return Option(exprs=(keyword.value,))
    if position is not None and position < len(call.args):
        is_starred = any(isinstance(one, ast.Starred) for one in call.args[: position + 1])
        return Option(is_known=False) if is_starred else Option(exprs=(call.args[position],))
    spread = [keyword.value for keyword in call.keywords if keyword.arg is None]
    if not spread:
        return Option(may_be_absent=True)
    given = [_of_dictionary(program, value, name) for value in spread]
    return Option(
        exprs=tuple(expr for one in given for expr in one.exprs),
        may_be_absent=all(one.may_be_absent for one in given),
        is_known=all(one.is_known for one in given),
    )


def _of_dictionary(program: Program, spread: ast.expr, name: str) -> Option:
    key = key_of(spread)
    if key is not None and _is_changed(program, key):
        return Option(is_known=False)
    exprs: list[ast.expr] = []
    may_be_absent = False
    for value in values(program, spread):
        entries = _entries(value.node)
        if entries is None or value.item is not None:
            return Option(is_known=False)
        if name in entries:
            exprs.append(entries[name])
        else:
            may_be_absent = True
    return Option(exprs=tuple(exprs), may_be_absent=may_be_absent)


def _entries(expr: ast.expr) -> dict[str, ast.expr] | None:
    """The entries of a dictionary that is written out; None if it is not."""
    entries: list[tuple[object, ast.expr]] = [(None, expr)]
    if isinstance(expr, ast.Dict):
        names = [key.value if isinstance(key, ast.Constant) else None for key in expr.keys]
        entries = list(zip(names, expr.values, strict=True))
    elif isinstance(expr, ast.Call) and last_name(expr.func) == "dict" and not expr.args:
        entries = [(keyword.arg, keyword.value) for keyword in expr.keywords]
    is_plain = all(isinstance(name, str) for name, _ in entries)
    return {str(name): value for name, value in entries} if is_plain else None


def _is_changed(program: Program, key: Key) -> bool:
    """Whether a dictionary gets entries after it was made."""
    return key in _changed(program)


@remembered
def _changed(program: Program) -> frozenset[Key | None]:
    changed = [call.func for call in program.called("update", "setdefault", "pop")]
    changed += [target for _, target in targets(program.every(ast.Assign)) if isinstance(target, ast.Subscript)]
    return frozenset(key_of(one.value) for one in changed if isinstance(one, (ast.Attribute, ast.Subscript)))


def constants(program: Program, expr: ast.expr) -> list[object] | None:
    """The plain values (numbers, texts, tuples) that an expression may have; None where one is unknown."""
    found = []
    for value in values(program, expr):
        if value.item is not None:
            return None
        try:
            found.append(_literal(program, value.node))
        except (ValueError, TypeError):
            return None
    return found


def _literal(program: Program, expr: ast.expr) -> object:
    if isinstance(expr, (ast.Tuple, ast.List)):
        parts = [constants(program, part) for part in expr.elts]
        if any(part is None or len(part) != 1 for part in parts):
            raise ValueError
        return tuple(part[0] for part in parts if part is not None)
    return ast.literal_eval(expr)


def constant(program: Program, given: Option) -> object:
    """The one plain value of an argument; None where there is none, or more, or it is unknown."""
    if not given.is_known or given.may_be_absent or len(given.exprs) != 1:
        return None
    found = constants(program, given.exprs[0])
    return found[0] if found and len(found) == 1 else None
