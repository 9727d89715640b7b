"""`flyweight doctor --environment`: what the report of a fault needs to say of this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

from flyweight.cli.output import say, say_json
from flyweight.cli.watch import announce_compiling
from flyweight.errors import MissingError, needs_torch
from flyweight.tables import WIDTH, as_text, table_of


def show_environment(database: str | None, *, as_json: bool) -> int:
    """Print versions, processor, kernels, devices and the kind of database, without private paths."""
    from flyweight.diagnose.environment import ABSENT, describe_environment

    with suppress(MissingError), needs_torch("compiling"):
        announce_compiling()
    found = describe_environment(database)
    if as_json:
        say_json(asdict(found))
        return 0
    facts = asdict(found) | {
        "devices": ", ".join(found.devices) or "unknown: torch is not installed",
        "variables": ", ".join(f"{name}={value}" for name, value in found.variables.items()) or "none set",
        "packages": ", ".join(f"{name} {version}" for name, version in found.packages.items() if version != ABSENT),
        "not installed": ", ".join(name for name, version in found.packages.items() if version == ABSENT) or "none",
    }
    rows = [{"what": name.replace("_", " "), "found": str(value)} for name, value in facts.items()]
    say(as_text(table_of(rows, wraps=True), width=WIDTH))
    return 0
