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
    from flyweight.code_check.reading import read_code as read_code
    from flyweight.data.sources import load as _load_images
    from flyweight.diagnose.examine import examine_recipe as examine_recipe
    from flyweight.diagnose.examine import examine_run as examine_run
    from flyweight.diagnose.fix import fix_recipe as fix_recipe
    from flyweight.diagnose.lr_range import lr_range as lr_range
    from flyweight.diagnose.monitor import monitor as monitor
    from flyweight.diagnose.trial import try_remedy as try_remedy
    from flyweight.evidence.compare import Comparison as Comparison
    from flyweight.evidence.journal import Journal as Journal
    from flyweight.evidence.journal import journal as journal
    from flyweight.execute.automatic import Automatic as Automatic
    from flyweight.execute.process_executor import Processes as Processes
    from flyweight.execute.seeds import resume_seeds as resume_seeds
    from flyweight.execute.seeds import run_seeds as run_seeds
    from flyweight.execute.stacked_executor import Stacked as Stacked
    from flyweight.experiment.plan import Plan as Plan
    from flyweight.experiment.plan import examine as examine
    from flyweight.experiment.plan import plan as plan
    from flyweight.experiment.run import resume as resume
    from flyweight.experiment.run import run as run
    from flyweight.inference.net import TrainedNet as TrainedNet
    from flyweight.inference.net import load as load
    from flyweight.model.budget import Budget as Budget
    from flyweight.model.budget import parse_budget as parse_budget
    from flyweight.model.build import build as build
    from flyweight.model.cost import Cost as Cost
    from flyweight.model.count import count as count
    from flyweight.model.edits import edits as edits
    from flyweight.page.write import write_page as write_page
    from flyweight.recipe import Recipe as Recipe
    from flyweight.recipe import load as _load_recipe
    from flyweight.records.record import RunRecord as RunRecord
    from flyweight.records.store import Store as Store
    from flyweight.report.comparison.page import write_comparison as write_comparison
    from flyweight.report.journal.page import write_journal as write_journal
    from flyweight.report.run.page import write_report as write_report
    from flyweight.studies.results import compare as compare
    from flyweight.studies.until_sure import until_sure as until_sure
    from flyweight.trackers import sync as sync
    from flyweight.trackers import tracking as tracking
    from flyweight.trackers import write_table as write_table

    load_images, load_recipe = _load_images, _load_recipe

__version__ = "0.1.0"

_HOMES = {
    "Automatic": "flyweight.execute.automatic",
    "Budget": "flyweight.model.budget",
    "Comparison": "flyweight.evidence.compare",
    "Cost": "flyweight.model.cost",
    "Journal": "flyweight.evidence.journal",
    "Plan": "flyweight.experiment.plan",
    "Processes": "flyweight.execute.process_executor",
    "Recipe": "flyweight.recipe",
    "RunRecord": "flyweight.records.record",
    "Stacked": "flyweight.execute.stacked_executor",
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
    "write_page": "flyweight.page.write",
    "write_report": "flyweight.report.run.page",
    "write_table": "flyweight.trackers",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'flyweight' has no attribute {name!r}")
    module, _, known_as = _HOMES[name].partition(":")
    with needs_torch(f"flyweight.{name}"):
        return getattr(import_module(module), known_as or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
