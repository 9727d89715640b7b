"""What happened, kept: a row per run in a database and a folder of files beside it.

Values go in and come out (`RunRecord`, `EpochRecord`); what a net or a training is, this room does not know.
The names below load on first use, because SQLAlchemy takes a third of a second to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyweight.records.record import (
        ENDINGS,
        PURPOSES,
        STATUSES,
        EpochRecord,
        Note,
        Plan,
        Purpose,
        Result,
        RunFigures,
        RunRecord,
        Status,
    )
    from flyweight.records.store import Store

__all__ = [
    "ENDINGS",
    "PURPOSES",
    "STATUSES",
    "EpochRecord",
    "Note",
    "Plan",
    "Purpose",
    "Result",
    "RunFigures",
    "RunRecord",
    "Status",
    "Store",
]


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Store":
        from flyweight.records import store

        return store.Store
    from flyweight.records import record

    return getattr(record, name)
