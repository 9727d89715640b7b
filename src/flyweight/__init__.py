"""The best image classifier that fits a parameter budget, with evidence.

>>> import flyweight
>>> flyweight.count("c8nb bn r m2 c16nb bn r gap flat fc10").params
1442

Everything in `__all__` is loaded when it is first used: importing the package costs no torch.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from flyweight.errors import needs_torch

# A thread that waits for another spins for some microseconds and then sleeps: spinning on, it keeps a core from the one
# it waits for where the machine has other work; asleep at once, it is late for the next of many short waits
# (docs/speed.md). GNU's OpenMP reads this when torch loads, so it stands before everything else.
if sys.platform == "linux" and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

if TYPE_CHECKING:
    from flyweight.code_check.reading import read_code
    from flyweight.data.sources import load as load_images
    from flyweight.diagnose.examine import examine_recipe, examine_run
    from flyweight.diagnose.fix import fix_recipe
    from flyweight.diagnose.lr_range import lr_range
    from flyweight.diagnose.monitor import monitor
    from flyweight.diagnose.trial import try_remedy
    from flyweight.evidence.compare import Comparison
    from flyweight.evidence.journal import Journal, journal
    from flyweight.execute.process_executor import Processes
    from flyweight.execute.seeds import resume_seeds, run_seeds
    from flyweight.experiment.plan import Plan, examine, plan
    from flyweight.experiment.run import resume, run
    from flyweight.inference.net import TrainedNet, load
    from flyweight.model.budget import Budget, parse_budget
    from flyweight.model.build import build
    from flyweight.model.cost import Cost
    from flyweight.model.count import count
    from flyweight.model.edits import edits
    from flyweight.recipe import Recipe
    from flyweight.recipe import load as load_recipe
    from flyweight.records.record import RunRecord
    from flyweight.records.store import Store
    from flyweight.report.comparison.page import write_comparison
    from flyweight.report.journal.page import write_journal
    from flyweight.report.run.page import write_report
    from flyweight.studies.results import compare
    from flyweight.studies.until_sure import until_sure
    from flyweight.trackers import sync, tracking, write_table

__version__ = "0.1.0"

_HOMES = {
    "Budget": "flyweight.model.budget",
    "Comparison": "flyweight.evidence.compare",
    "Cost": "flyweight.model.cost",
    "Journal": "flyweight.evidence.journal",
    "Plan": "flyweight.experiment.plan",
    "Processes": "flyweight.execute.process_executor",
    "Recipe": "flyweight.recipe",
    "RunRecord": "flyweight.records.record",
    "Store": "flyweight.records.store",
    "TrainedNet": "flyweight.inference.net",
    "build": "flyweight.model.build",
    "compare": "flyweight.studies.results",
    "count": "flyweight.model.count",
    "edits": "flyweight.model.edits",
    "examine": "flyweight.experiment.plan",
    "examine_recipe": "flyweight.diagnose.examine",
    "examine_run": "flyweight.diagnose.examine",
    "fix_recipe": "flyweight.diagnose.fix",
    "journal": "flyweight.evidence.journal",
    "load": "flyweight.inference.net",
    "load_images": "flyweight.data.sources:load",
    "load_recipe": "flyweight.recipe:load",
    "lr_range": "flyweight.diagnose.lr_range",
    "monitor": "flyweight.diagnose.monitor",
    "parse_budget": "flyweight.model.budget",
    "plan": "flyweight.experiment.plan",
    "try_remedy": "flyweight.diagnose.trial",
    "read_code": "flyweight.code_check.reading",
    "resume": "flyweight.experiment.run",
    "resume_seeds": "flyweight.execute.seeds",
    "run": "flyweight.experiment.run",
    "run_seeds": "flyweight.execute.seeds",
    "sync": "flyweight.trackers",
    "tracking": "flyweight.trackers",
    "until_sure": "flyweight.studies.until_sure",
    "write_comparison": "flyweight.report.comparison.page",
    "write_journal": "flyweight.report.journal.page",
    "write_report": "flyweight.report.run.page",
    "write_table": "flyweight.trackers",
}

__all__ = [
    "Budget",
    "Comparison",
    "Cost",
    "Journal",
    "Plan",
    "Processes",
    "Recipe",
    "RunRecord",
    "Store",
    "TrainedNet",
    "build",
    "compare",
    "count",
    "edits",
    "examine",
    "examine_recipe",
    "examine_run",
    "fix_recipe",
    "journal",
    "load",
    "load_images",
    "load_recipe",
    "lr_range",
    "monitor",
    "parse_budget",
    "plan",
    "read_code",
    "resume",
    "resume_seeds",
    "run",
    "run_seeds",
    "sync",
    "tracking",
    "try_remedy",
    "until_sure",
    "write_comparison",
    "write_journal",
    "write_report",
    "write_table",
]


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'flyweight' has no attribute {name!r}")
    module, _, known_as = _HOMES[name].partition(":")
    with needs_torch(f"flyweight.{name}"):
        return getattr(import_module(module), known_as or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
