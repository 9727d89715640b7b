"""How OpenMP's threads wait is decided before torch loads, and a user's word goes before ours."""

from __future__ import annotations

import os
import sys

import pytest

from flyweight.cli.app import wait_asleep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="set on Linux only")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ({"GOMP_SPINCOUNT": "1000"}, None),
    ],
)
def test_threads_wait_asleep_unless_the_user_says_otherwise(monkeypatch, given, found):
    """Without a word of the user's they sleep; a policy or a spin count that is set stays what decides."""
    monkeypatch.setattr(os, "environ", given.copy())

    wait_asleep()

    assert os.environ.get("OMP_WAIT_POLICY") == found
