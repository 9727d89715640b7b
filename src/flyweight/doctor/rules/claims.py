"""What somebody made of a run: figures that the record does not have, and changes that show less than is said.

Goes in: a subject with claims, or with the result that the run was changed from. Counts are of test images; what a
journal says of many seeds is not known here.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

from flyweight.doctor.finding import Judgement, judgement
from flyweight.doctor.quantity import Known, call, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.subject import Subject

# |z| below it is p above 0.05, two-sided.
NORMAL_95: Final = 1.959964


@rule(
    "CL01",
    "A claim contradicted by the record",
    needs=("claims",),
    source="document 002, trial 3b: reported as more than 95 %, printed as 92.40 %",
)
def _contradicted_claims(subject: Subject) -> Judgement | None:
    """A figure that somebody wrote about this run differs from the recorded one. Decisions based on it keep what does
    not work or drop what does. Copy figures from the record, with the number of images and seeds, so that anybody can
    check them."""
    known = Known(subject)
    contradicted = [(number, one) for number, one in enumerate(subject.claims or ()) if one.is_contradicted]
    if not contradicted:
        return None
    evidence = []
    for number, claim in contradicted:
        evidence += [
            fact(f"{claim.what}, claimed in {claim.where}", known.claims[number].said),
            fact(f"{claim.what}, recorded", known.claims[number].found),
        ]
    return judgement("fault", *evidence, advice="Write the measured figure, with the number of images and seeds.")


@rule(
    "CL02",
    "Several things changed at once",
    needs=("parent",),
    source="document 003, step 17: rate, dropout and layers in one step",
)
def _several_changes(subject: Subject) -> Judgement | None:
    """This run differs from the one before it in more than one way. Any gain or loss belongs to all the changes
    together, and one may hide the harm of another. Run each change alone, so that a difference has one possible
    cause."""
    parent = subject.parent
    if parent is None or len(parent.factors) < 2:
        return None
    factors = Known(subject).parent.factors
    return judgement(
        "note",
        fact("number of changes", call(len, factors)),
        *(fact(f"change {number + 1}", factors[number]) for number in range(len(parent.factors))),
        advice=f"Change one thing at a time: run {parent.name} again with each of these changes alone.",
    )


@rule(
    "CL03",
    "A change without a clear effect",
    needs=("parent", "ending"),
    source="test of two proportions, pooled; document 003: 8 of its 17 changes",
)
def _change_that_shows_nothing(subject: Subject) -> Judgement | None:
    """This run and the one before the change differ by no more than the sampling error of the test images. The change
    may have no effect, or even do harm. Train more seeds of both: chance averages out, and the effect of the change
    remains."""
    # A run that nothing was changed in is a second look at the same thing, and should show nothing.
    if subject.parent is None or subject.ending is None or subject.ending.test is None or not subject.parent.factors:
        return None
    test, parent = Known(subject).result.test, Known(subject).parent
    gained = test.correct / test.count - parent.correct / parent.count
    # The test of two proportions with one share for both (pooled).
    share = (test.correct + parent.correct) / (test.count + parent.count)
    error = call(sqrt, share * (1 - share) * (1 / test.count + 1 / parent.count))
    # Where both have all images right, or none, there is no error and no difference either.
    z = gained / error if error.value else None
    if z is not None and abs(z.value) >= NORMAL_95:
        return None
    return judgement(
        "note",
        fact("correct test images", test.correct),
        fact("correct test images before the change", parent.correct),
        fact("points gained", 100 * gained),
        *((fact("standard errors gained", z),) if z is not None else ()),
        advice="Train more seeds of both, and compare them on the same images, before you keep the change.",
    )


RULES: Final[tuple[Rule, ...]] = (_contradicted_claims, _several_changes, _change_that_shows_nothing)
