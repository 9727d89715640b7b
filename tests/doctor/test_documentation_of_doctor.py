"""docs/doctor.md is true: its tables are those of the code, its examples add up, its counts are counted again."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest
from made_subjects import (
    made_claim,
    made_ending,
    made_history,
    made_images,
    made_parent,
    made_predictions,
    made_reads,
    made_reported,
    made_start,
    made_subject,
    made_trained,
)
from recomputed import FUNCTIONS, names_of_subject

import flyweight
from benchmarks.fault_bench import record, remedies, tables
from benchmarks.fault_bench.cases import cases
from benchmarks.fault_bench.healthy import DESIGNS, TRAIN_SIZES, healthy_recipe
from benchmarks.fault_bench.planting import KINDS, MILD, STRONG
from flyweight.cli.doctor.command import TASKS
from flyweight.code_check.table import FAULTS
from flyweight.diagnose import fix, lr_range, monitor, trial
from flyweight.diagnose.probes import reads as probe_reads
from flyweight.diagnose.probes import start as probe_start
from flyweight.diagnose.probes import trained as probe_trained
from flyweight.diagnose.subjects import subject_of_recipe
from flyweight.doctor import quantity
from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import SEVERITIES
from flyweight.doctor.quantity import NAMES
from flyweight.doctor.subject import Need
from flyweight.doctor.table import RULES
from flyweight.errors import DataError, MissingError, OverBudgetError, UsageError
from flyweight.evidence.paired import paired
from flyweight.evidence.verdict import p_value, points
from flyweight.recipe import optimizer_traits, override

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "doctor.md").read_text(encoding="utf-8")
COUNTS = {2: "two", 5: "five", 8: "eight", 9: "nine", 10: "ten", 11: "eleven"}
PARTS = {3: "third", 8: "eighth", 10: "tenth"}


def count(number: float) -> str:
    """A small number as it is written in a sentence."""
    return COUNTS.get(int(number), f"{number:g}")


def part(number: float) -> str:
    """One of so many, in a sentence."""
    return PARTS.get(int(number), f"{number:g}th")


def section(title: str) -> str:
    """The text below a heading."""
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, title
    return found


def words(text: str) -> str:
    """Text on one line, so that it may be broken anywhere."""
    return " ".join(text.split())


def between(beginning: str, end: str) -> str:
    """What stands between two lines that are comments."""
    (found,) = re.findall(rf"^<!-- {beginning}.*? -->\n(.*?)^<!-- {end} -->$", PAGE, flags=re.M | re.S)
    return str(found)


def rows(table: str) -> list[list[str]]:
    """The cells of a table in Markdown, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def table(*lines: Sequence[str]) -> str:
    """A table in Markdown; the first line is its head."""
    head, *body = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in (head,)) + "".join(
        f"{line}\n" for line in ("|" + "---|" * len(head), *(f"| {' | '.join(cells)} |" for cells in body))
    )


def table_of_rules() -> str:
    """Every rule of the doctor."""
    return table(
        ("code", "what it finds", "needs", "see"),
        *((rule.code, rule.title, ", ".join(rule.needs), rule.source) for rule in RULES),
    )


def table_of_faults() -> str:
    """Every fault that is looked for in code."""
    return table(("code", "severity", "what it finds"), *((one.code, one.severity, one.title) for one in FAULTS))


def documented_names() -> set[str]:
    """What the sources of evidence may name."""
    return {name for first, *_ in rows(between("names", "end of names")) for name in re.findall(r"`(\w+)`", first)}


def documented_functions() -> set[str]:
    return {
        name for first, *_ in rows(between("functions", "end of functions")) for name in re.findall(r"`(\w+)", first)
    }


def test_every_rule_is_in_the_table_as_it_is() -> None:
    """No code, title, need or source in the documentation differs from the table of rules."""
    assert between("rules", "end of rules") == table_of_rules()
    assert len(rows(between("rules", "end of rules"))) == len(RULES) > 50


def test_every_fault_in_code_is_in_the_table_as_it_is() -> None:
    """The same for the faults that are looked for in somebody's code."""
    assert between("code", "end of code") == table_of_faults()
    assert len(rows(between("code", "end of code"))) == len(FAULTS) >= 30


def test_titles_and_sources_fit_into_a_table() -> None:
    """None has a bar, which would be another cell."""
    assert not [text for one in RULES for text in (one.title, one.source) if "|" in text]
    assert not [one.title for one in FAULTS if "|" in one.title]


def test_every_need_is_explained() -> None:
    """The table of needs has a line for each, in their order."""
    explained = [first for first, *_ in rows(section("What is looked at when"))]

    assert explained == list(get_args(Need))
    assert set(chain.from_iterable(rule.needs for rule in RULES)) <= set(explained)


def test_every_severity_is_explained() -> None:
    """The part of a finding that is called severity names all of them."""
    parts = {first: text for first, text, *_ in rows(section("How a finding reads"))}

    assert re.findall(r"\*(\w+)\*:", parts["severity"]) == list(SEVERITIES)


def full_subject() -> dict[str, object]:
    """The names that a source may use of a run that has everything."""
    subject = made_subject(
        history=made_history([0.9, 0.95]),
        ending=made_ending(),
        predictions=made_predictions(),
        reported=made_reported([0.9, 0.95]),
        claims=(made_claim(),),
        parent=made_parent(),
        images=made_images(),
        reads=made_reads(),
        start=made_start(),
        trained=made_trained(),
    )
    return names_of_subject(subject)


def test_the_names_of_sources_are_all_listed() -> None:
    """The tables have the names that the readers of evidence know, and no other."""
    assert documented_names() == set(full_subject())
    assert set(NAMES) < documented_names()
    assert documented_functions() == set(FUNCTIONS) == {one.__name__ for one in quantity.FUNCTIONS}


@cache
def sources() -> tuple[str, ...]:
    """Where the numbers come from in what is found in healthy nets with planted faults, before any run."""
    found = []
    for design in DESIGNS[:3]:
        healthy = healthy_recipe(design, "mnist", n_train=TRAIN_SIZES[0])
        for kind in KINDS:
            if kind.suits(design):
                subject = subject_of_recipe(override(healthy, kind.planted(design, 0)))
                found += [one.source for finding in diagnose(subject).findings for one in finding.evidence]
    return tuple(dict.fromkeys(found))


def names_in(source: str) -> set[str]:
    """The names that an expression begins with."""
    return {node.id for node in ast.walk(ast.parse(source, mode="eval")) if isinstance(node, ast.Name)}


def test_no_source_names_what_is_not_listed() -> None:
    """Whoever reads the page can compute each number."""
    known = documented_names() | documented_functions()

    assert {source: name for source in sources() for name in names_in(source) if name not in known} == {}
    assert len(sources()) > 50


def test_the_rules_of_a_run_under_way_are_named() -> None:
    """Before a run most rules have what they need; during a run, those that need only the epochs so far."""
    before = [rule for rule in RULES if set(rule.needs) <= {"claims"}]
    during = [rule.code for rule in monitor.rules_during()]

    assert len(before) > len(RULES) / 2
    assert f"(at present {', '.join(during)})" in words(section("During a run"))


def test_every_option_is_explained() -> None:
    """Each thing that can be asked for is named, and what goes with it."""
    options = set(TASKS) | set(chain.from_iterable(TASKS.values())) - {""}

    assert sorted(one for one in options if one and f"`{one}" not in PAGE) == []
    assert len(options) > 10


@pytest.mark.parametrize(
    ("title", "said", "value"),
    [
        ("What is looked at when", "whether {} images of each kind", probe_reads.MAX_IMAGES),
        ("What is looked at when", "the first {} steps of a new net", probe_start.MAX_STEPS),
        ("What is looked at when", "of at most {} images", probe_start.MAX_IMAGES),
        ("What is looked at when", "all of {} training images", probe_trained.MAX_IMAGES),
        ("Trial of a remedy", "as MNIST has, {:,}, over all", trial.IMAGE_PASSES),
        ("Trial of a remedy", "never fewer than {:,} different ones", trial.MIN_IMAGES),
        ("Trial of a remedy", "lies above -{:g} points", 100 * trial.MAX_LOSS),
        ("Trial of a remedy", "with p < {:g} by the t test", trial.LEVEL),
        ("Fixing a recipe", "after {} tries", count(fix.MAX_STEPS)),
        ("During a run", "mean loss above {:g} \N{MULTIPLICATION SIGN} ln(classes)", monitor.TIMES_GUESSING),
        ("During a run", "The first {} steps of an epoch", monitor.MIN_STEPS),
        ("A range of learning rates", "through {} steps", lr_range.STEPS),
        ("A range of learning rates", "from {0[0]:g} to {0[1]:g}, and", optimizer_traits("sgd").swept_lrs),
        ("A range of learning rates", "adamw from {0[0]:g} to {0[1]:g} (", optimizer_traits("adamw").swept_lrs),
        ("A range of learning rates", "at a {} of that", part(lr_range.PLAIN_MARGIN)),
        ("A range of learning rates", "{} times wide", f"{count(lr_range.MIN_WIDTH)} to {count(lr_range.MAX_WIDTH)}"),
        ("How good it is, measured", "{} kinds of fault", len(STRONG)),
        ("How good it is, measured", "in {} nets", count(len(DESIGNS))),
        ("How good it is, measured", "at most {0[0]:,} or {0[1]:,} images of MNIST", TRAIN_SIZES),
        ("How good it is, measured", "beside {} healthy runs", sum(one.kind is None for one in cases())),
        ("How good it is, measured", "{} kinds more are planted weakly", count(len(MILD))),
        ("How good it is, measured", "p < {:g} over", tables.SURE),
        ("How good it is, measured", "over {} seeds", count(remedies.SEEDS)),
        ("How good it is, measured", "{} kinds are declared", count(sum(one.is_declared for one in KINDS))),
        ("How good it is, measured", "an {} of the faults", part(record.QUICK_FAULTY)),
        ("How good it is, measured", "a {} of the healthy runs", part(record.QUICK_HEALTHY)),
        ("Exit codes and bad input", "{} means a usage error", UsageError.exit_code),
        ("Exit codes and bad input", "{} means that the recipe does not fit its budget", OverBudgetError.exit_code),
        ("Exit codes and bad input", "{} that images, a notebook", DataError.exit_code),
        ("Exit codes and bad input", "{} that a file cannot be written", MissingError.exit_code),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_number_is_the_one_of_the_code(title: str, said: str, value: object) -> None:
    """Who moves a constant moves it on the page, too."""
    assert said.format(value).lower() in words(section(title)).lower()


def test_what_is_not_on_the_bench_is_said() -> None:
    """The rules that no planted fault is for are named, all of them."""
    planted = {code for kind in KINDS for code in kind.codes}
    others = sorted(rule.code for rule in RULES if rule.code not in planted)
    found = re.search(r"(\w+) of the rules have no fault of their own on the bench \((.*?)\)", words(PAGE))

    assert found
    assert found[1].lower() == count(len(others))
    assert re.sub(r"CL01 to CL03", "CL01, CL02, CL03", found[2]).split(", ") == others


def test_the_proof_that_is_shown_adds_up() -> None:
    """Its effect, interval and p follow from the figures of the seeds below it."""
    (shown_block,) = re.findall(r"^```text\n(.*?)^```", section("A first look"), flags=re.M | re.S)
    figures: Mapping[str, list[float]] = {
        side: [float(one) / 100 for one in re.findall(r"\d+\.\d+", line)]
        for side, line in re.findall(r"^  (before|after) +(.*)$", shown_block, flags=re.M)
    }

    found = paired(figures["before"], figures["after"], resolution=1 / 5000)

    assert found.low is not None
    assert found.high is not None
    assert found.p is not None
    low, high = (points(end).removesuffix(" points") for end in (found.low, found.high))
    assert f"{points(found.effect)} (95 % interval {low} to {high}), {p_value(found.p)}, n = 3" in words(shown_block)
    assert [f"{100 * sum(one) / len(one):.2f}" for one in figures.values()] == ["10.69", "98.45"]


def test_the_figures_of_the_bench_have_their_place() -> None:
    """Between its two lines, once, below what the words in it mean."""
    found = section("How good it is, measured")

    assert found.count("<!-- fault bench -->") == found.count("<!-- /fault bench -->") == 1
    assert found.index("**False alarms**") < found.index("<!-- fault bench -->") < found.index("<!-- /fault bench -->")


def test_python_shown_is_true() -> None:
    """The Python of the documentation gives the results beside it, and the functions that it names are public."""
    result = doctest.testfile(str(DOCS / "doctor.md"), module_relative=False)
    named = set(re.findall(r"`flyweight\.(\w+)\(", section("From Python")))

    assert (result.attempted, result.failed) == (5, 0)
    assert named <= set(flyweight.__all__)
    assert named == {"examine_run", "try_remedy", "fix_recipe", "lr_range", "read_code"}
