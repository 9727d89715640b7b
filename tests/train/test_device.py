"""What a step computes in follows from what the device can do."""

from __future__ import annotations

from types import MappingProxyType

import pytest
import torch

from flyweight.train import device as devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"bf16": True, "architecture": "arm64"}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
    ids=str,
)
def test_bfloat16_needs_a_processor_that_has_it(abilities, expected, monkeypatch):
    """A processor that would only imitate bfloat16 computes in float32; float32 is never changed."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(abilities))

    assert devices.working_precision("bfloat16", CPU) == expected
    assert devices.working_precision("float32", CPU) == "float32"


def test_a_record_says_whether_kernels_were_there():
    """The description of a machine has the kernels' identity, or why there are none."""
    found = devices.describe(CPU)["kernels"]

    assert isinstance(found, str)
    assert len(found) == 16 or found.startswith("torch alone: ")
