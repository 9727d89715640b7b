"""The Triton kernels without a GPU: triton's interpreter runs them in numpy, on tensors of the CPU."""

from __future__ import annotations

import os

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def interpret() -> None:
    """Load triton and the kernels for the interpreter, if there is no GPU; without triton the tests are skipped."""
    if DEVICE.type == "cuda":
        pytest.importorskip("triton")
        return
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined, those of triton itself included
    try:
        _load()
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before


def _load() -> None:
    pytest.importorskip("triton")
    import triton.experimental.gluon  # noqa: F401  (loaded at the first call of a kernel otherwise)
    from triton.runtime import interpreter

    from flyweight.kernels import triton_source

    assert triton_source.INTERPRETED.value, "triton was loaded before the tests of its kernels"
    patch = interpreter._patch_lang_tensor

    def patched(tensor, scope):
        """numpy 2.4 makes no integer of an array of one number, which the interpreter asks for in a range."""
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched
