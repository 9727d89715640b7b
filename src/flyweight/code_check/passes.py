"""How often a line runs in training (for each batch, each epoch or each net), followed through functions and methods,
and what a value depends on."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from flyweight.code_check.loops import OPTIMIZERS, is_net_class
from flyweight.code_check.program import (
    FUNCTIONS,
    Function,
    Program,
    calls_of,
    functions_of,
    key_of,
    last_name,
    reaching,
    remembered,
    within,
)

_PASSES: Final[tuple[type[ast.AST], ...]] = (
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ListComp,
    ast.GeneratorExp,
    ast.SetComp,
    ast.DictComp,
)
# Names of torch's own methods: only on `self` are they calls of a method of the program.
_OF_TORCH: Final = {"step", "backward", "train", "eval", "to", "zero_grad", "state_dict", "load_state_dict", "update"}
# What makes a net or gives it other weights.
_RENEWING: Final = {"load_state_dict", "reset_parameters", "deepcopy", "apply", "Sequential", "create_model", "load"}
MAX_ORIGINS: Final = 200
BATCH: Final = 1
EPOCH: Final = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Passes:
    """The loops that train. levels: 1 for a loop over batches, 2 for one over epochs, 3 and more for those around."""

    program: Program

    @cached_property
    def callers(self) -> Mapping[Function, Sequence[Function]]:
        """The functions that call each function."""
        found: dict[Function, list[Function]] = defaultdict(list)
        for call in self.program.every(ast.Call):
            for made in self.called(call):
                found[made] += [outer for outer in self.program.ancestors(call) if isinstance(outer, FUNCTIONS)]
        return found

    def called(self, call: ast.Call) -> list[Function]:
        """The functions of the program that a call is of, and the `__init__` of a class, without torch's methods."""
        is_of_torch = isinstance(call.func, ast.Attribute) and call.func.attr in _OF_TORCH
        if is_of_torch and isinstance(call.func, ast.Attribute) and last_name(call.func.value) != "self":
            return []
        return functions_of(self.program, call)

    def reaching(self, direct: set[Function]) -> set[Function]:
        """The functions that call one of these, or call one that does."""
        found, waiting = set(direct), list(direct)
        while waiting:
            for outer in self.callers.get(waiting.pop(), ()):
                if outer not in found:
                    found.add(outer)
                    waiting.append(outer)
        return found

    def functions_calling(self, *names: str) -> set[Function]:
        """The functions in which something of these last names is called, also through others."""
        calls = [call for call in self.program.called(*names) if not self.called(call)]
        return self.reaching(
            {outer for call in calls for outer in self.program.ancestors(call) if isinstance(outer, FUNCTIONS)}
        )

    @cached_property
    def training(self) -> set[Function]:
        """The functions that call `backward`, also through others."""
        return self.functions_calling("backward")

    @cached_property
    def levels(self) -> Mapping[ast.AST, int]:
        loops: list[ast.AST] = [one for kind in _PASSES for one in self.program.every(kind) if self._trains(one)]
        of_function: dict[Function, int] = {}
        found: dict[ast.AST, int] = {}
        # From the inner loops out; a function has the level of its outermost loop. A round adds one level at least.
        for _ in range(6):
            before = dict(found)
            for loop in loops:
                inner = [found.get(one, 0) for one in ast.walk(loop) if one is not loop and one in found]
                inner += [of_function.get(made, 0) for call in within(loop, ast.Call) for made in self.called(call)]
                found[loop] = 1 + max(inner, default=0)
            for function in self.training:
                own = [found[one] for one in ast.walk(function) if one in found]
                own += [of_function.get(made, 0) for call in within(function, ast.Call) for made in self.called(call)]
                of_function[function] = min(max(own, default=0), 9)
            if found == before:
                break
        return found

    def _trains(self, node: ast.AST) -> bool:
        return any(
            last_name(call.func) == "backward" or any(made in self.training for made in self.called(call))
            for call in within(node, ast.Call)
        )

    def loops(self, *levels: int) -> list[ast.For]:
        """The `for` loops of these levels, in the order of the lines."""
        return [loop for loop in self.program.every(ast.For) if self.levels.get(loop) in levels]

    def level(self, node: ast.AST) -> int | None:
        """The level of the innermost training loop that a node is in, also through calls; 0 outside of all of them.

        None where it is in several loops.
        """
        loops = self._innermost(node)
        return None if len(loops) != 1 else self.levels.get(loops[0], 0) if loops[0] is not None else 0

    def level_around(self, node: ast.AST) -> int | None:
        """The level of the next training loop around that innermost one, in the same way."""
        loops = self._innermost(node)
        return self.level(loops[0]) if len(loops) == 1 and loops[0] is not None else None

    def _innermost(self, node: ast.AST, depth: int = 5) -> list[ast.AST | None]:
        for inner, outer in _steps_out(self.program, node):
            # The head of a loop runs once.
            if outer in self.levels and inner is not getattr(outer, "iter", None):
                return [outer]
            if isinstance(outer, FUNCTIONS):
                calls = calls_of(self.program, outer) if depth else []
                found = [one for call in calls for one in self._innermost(call, depth - 1)]
                return list(dict.fromkeys(found))
        return [None]

    @cached_property
    def renewing(self) -> set[Function]:
        """The functions that make a net or give it other weights, also through others."""
        return self.functions_calling(*_RENEWING, *self._nets)

    @cached_property
    def _nets(self) -> set[str]:
        return {made.name for made in self.program.every(ast.ClassDef) if is_net_class(self.program, made)}

    def renews_nets(self, node: ast.AST) -> bool:
        """Whether a net is made, or given other weights, in a node or in what it calls."""
        return any(
            last_name(call.func) in self._nets | _RENEWING or any(made in self.renewing for made in self.called(call))
            for call in within(node, ast.Call)
        )

    def calls_unknown(self, node: ast.AST) -> bool:
        """Whether a node calls plain names that the program neither defines nor has from a library that we know."""
        return any(
            isinstance(call.func, ast.Name)
            and call.func.id not in self.program.functions
            and call.func.id not in self.program.classes
            and call.func.id not in OPTIMIZERS
            and _is_local_import(self.program, call.func.id)
            for call in within(node, ast.Call)
        )


def _is_local_import(program: Program, name: str) -> bool:
    known = ("torch", "torchvision", "numpy", "sklearn", "tqdm", "matplotlib", "time", "copy", "math", "random")
    for one in program.every(ast.ImportFrom):
        if any((alias.asname or alias.name) in (name, "*") for alias in one.names):
            return not (one.module or "").startswith(known)
    return False


def _steps_out(program: Program, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    for outer in program.ancestors(node):
        yield node, outer
        node = outer


@remembered
def passes_of(program: Program) -> Passes:
    """The loops of a program that train; computed once for all rules."""
    return Passes(program=program)


def origins(program: Program, expr: ast.expr) -> list[ast.expr]:
    """The expressions that a value is computed from: itself, and what its names were given, and so on."""
    found: dict[ast.expr, None] = {expr: None}
    waiting = [expr]
    while waiting and len(found) < MAX_ORIGINS:
        for inner in ast.walk(waiting.pop()):
            if isinstance(inner, (ast.Name, ast.Attribute)) and key_of(inner) is not None:
                for bound in reaching(program, inner):
                    if bound.value is not None and bound.value not in found:
                        found[bound.value] = None
                        waiting.append(bound.value)
    return list(found)


def calls_behind(program: Program, expr: ast.expr, *names: str) -> list[ast.Call]:
    """The calls of these last names that a value is computed with."""
    return [call for one in origins(program, expr) for call in within(one, ast.Call) if last_name(call.func) in names]
