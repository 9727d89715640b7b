"""What was recognised in a program, and so what its findings, or their absence, are about."""

from __future__ import annotations

import ast
from typing import Final

from flyweight.code_check.data import all_data_sets
from flyweight.code_check.findings import Recognised
from flyweight.code_check.loops import OPTIMIZERS, evaluation_loops, is_net_class, loss_of
from flyweight.code_check.passes import BATCH, passes_of
from flyweight.code_check.program import Program, last_name

# The first part of what is imported, and the library that it is.
_LIBRARIES: Final = {
    "torch": "PyTorch",
    "torchvision": "PyTorch",
    "pytorch_lightning": "Lightning",
    "lightning": "Lightning",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "fastai": "fastai",
    "skorch": "skorch",
    "jax": "JAX",
    "flax": "JAX",
    "sklearn": "scikit-learn",
    "transformers": "Transformers",
    "ignite": "Ignite",
    "paddle": "Paddle",
    "mxnet": "MXNet",
}


def recognised(program: Program) -> Recognised:
    """Libraries, and the numbers of nets, data sets, losses, optimizers and loops that the rules see."""
    imported = [alias.name for one in program.every(ast.Import) for alias in one.names]
    imported += [one.module or "" for one in program.every(ast.ImportFrom) if not one.level]
    libraries = {_LIBRARIES.get(name.partition(".")[0], "") for name in imported} - {""}
    calls = list(program.every(ast.Call))
    nets = sum(is_net_class(program, made) for made in program.every(ast.ClassDef))
    return Recognised(
        libraries=tuple(sorted(libraries)),
        nets=nets or sum(last_name(call.func) == "Sequential" or _is_ready_made(call) for call in calls),
        data_sets=sum(1 for _ in all_data_sets(program)) or len(program.called("DataLoader")),
        losses=len({loss.made for call in calls if (loss := loss_of(program, call)) is not None}),
        optimizers=len(program.called(*OPTIMIZERS)),
        training_loops=sum(level == BATCH for level in passes_of(program).levels.values()),
        evaluation_loops=len(evaluation_loops(program)),
    )


def _is_ready_made(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and last_name(call.func.value) == "models"
