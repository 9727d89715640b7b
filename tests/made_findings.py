"""Findings as the rules give them, made by hand: what pages and commands say of them needs no run."""

from __future__ import annotations

from typing import Any

from flyweight.data.facts import DataFacts
from flyweight.doctor.finding import Diagnosis, Evidence, Finding, Remedy, Unjudged
from flyweight.doctor.subject import Subject
from flyweight.model.count import count
from flyweight.recipe import Recipe, load, override

WHY = (
    "A learning rate says how far each step moves the weights. When the steps are too long, the loss jumps over the "
    "valley that it should go down, and may end in numbers that are none. Shorter steps stay in the valley, and a "
    "tenth of the rate is a good first try."
)
HOT = Finding(
    code="LR01",
    title="learning rate too high",
    severity="fault",
    rank=1,
    evidence=(
        Evidence(what="highest learning rate", value=10.01, source="recipe.train.lr"),
        Evidence(what="largest update of the weights in a step, as a share of them", value=0.83214, source="0.83214"),
        Evidence(what="images that train", value=55000, source="data.n_train"),
    ),
    explanation=WHY,
    remedy=Remedy(changes=("train.lr=0.1",), gain="accuracy", expected="the loss falls instead of jumping."),
    source="Smith 2017",
)
CONSTANT = Finding(
    code="SI01",
    title="constant answer",
    severity="fault",
    rank=2,
    evidence=(Evidence(what="class that is answered", value="7", source="7"),),
    explanation=WHY,
    advice="Mend what stands above first.",
    is_symptom=True,
)
IDLE = Finding(
    code="NE07",
    title="log_softmax before cross entropy",
    severity="note",
    rank=3,
    evidence=(Evidence(what="layer", value="logsoftmax1", source="rows('logsoftmax')[0].name"),),
    explanation=WHY,
)
OTHER_NOTE = Finding(code="NE08", title="bias before batch norm", severity="note", rank=3, evidence=(), explanation=WHY)
UNJUDGED = (
    Unjudged(code="SI02", title="dead channels", reason="needs the weights of a finished run: the run diverged"),
    Unjudged(code="SI03", title="vanishing gradients", reason="needs the weights of a finished run: the run diverged"),
    Unjudged(code="CL01", title="claim contradicted", reason="needs figures that somebody wrote of the run"),
)


def recipe(*overrides: str) -> Recipe:
    return override(load("own/20k-fast"), ("train.lr=10.01", *overrides))


def subject(asked: Recipe | None = None, **more: Any) -> Subject:
    """The recipe with the learning rate that is found fault with, before any run."""
    asked = asked or recipe()
    facts = DataFacts(n_train=55_000, n_validation=5_000, n_classes=10, shape=(1, 28, 28))
    return Subject(recipe=asked, cost=count(asked.model.net), data=facts, lr_curve=(asked.train.lr,) * 101, **more)


def diagnosis(*findings: Finding, unjudged: tuple[Unjudged, ...] = UNJUDGED) -> Diagnosis:
    return Diagnosis(findings=findings, unjudged=unjudged)
