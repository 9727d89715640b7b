"""CUDA graphs on the CPU: the operations of a step are recorded with their memory, and run again by a replay.

As on a GPU, a replay reads and writes the memory of the capture, and whatever the host decided then is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class RecordedGraph:
    """What `torch.cuda.CUDAGraph` has of a graph."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self.shares: object = None

    def pool(self) -> int:
        return id(self)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, before in self.calls:
            after = function(*args, **kwargs)
            for old, new in zip(_tensors(before), _tensors(after), strict=True):
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


class _Recording(TorchDispatchMode):
    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if not str(function).startswith("profiler"):
            self.graph.calls.append((function, *tree_map(_memory, (args, kwargs, result))))
        return result


class _Stream:
    def wait_stream(self, _other: object) -> None:
        pass


class _Event:
    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


def install(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraph]:
    """Give torch graphs on the CPU; returns the list of those that will be captured."""
    graphs: list[RecordedGraph] = []

    @contextmanager
    def capture(graph: RecordedGraph, pool: object = None) -> Iterator[None]:
        graph.shares = pool
        with _Recording(graph):
            yield
        graphs.append(graph)

    for name, value in {
        "CUDAGraph": RecordedGraph,
        "graph": capture,
        "Stream": _Stream,
        "Event": _Event,
        "current_stream": _Stream,
        "stream": lambda _stream: nullcontext(),
        "synchronize": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    # Its kernels for the CPU are no operations of torch.
    monkeypatch.setattr("flyweight.kernels.chain.library", lambda: None)
    return graphs


def _memory(leaf: Any) -> Any:
    """A graph knows the memory of a tensor, not the tensor: what is given other memory later is not followed."""
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
