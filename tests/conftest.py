"""Shared by all tests: how many examples the property tests draw, one thread for torch, and which tests are slow."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Read before torch loads: tests of tiny nets are faster and calmer on one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Drawing a whole net and building it has no steady time, so there is no deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# The quick examples are the same each time, so that a failure is a change; the thorough ones look for news.
settings.register_profile("quick", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("ci", max_examples=300, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("FLYWEIGHT_HYPOTHESIS", "quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too, as CI does")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked slow runs only when asked for."""
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
