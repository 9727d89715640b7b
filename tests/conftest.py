"""Shared by all tests: how many examples the property tests draw, and one thread for torch."""

import os

from hypothesis import HealthCheck, settings

# Read before torch loads: tests of tiny nets are faster and calmer on one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Drawing a whole net and building it has no steady time, so there is no deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# The quick examples are the same each time, so that a failure is a change; the thorough ones look for news.
settings.register_profile("quick", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("FLYWEIGHT_HYPOTHESIS", "quick"))
