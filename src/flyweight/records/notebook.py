"""Notes of people on recipes, and plans of sequential comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Engine, insert, select

from flyweight.records.database import now, reading, storable, writing
from flyweight.records.ids import new_run_id
from flyweight.records.record import HeldOut, Note, NoteKind, SeedPlan
from flyweight.records.tables import notes, plans


class Notebook:
    """Notes and plans in one database; they are never changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write_note(self, recipe_hash: str, kind: NoteKind, text: str, *, author: str, study: str | None = None) -> Note:
        """Add a note on a recipe in a study; earlier notes stay."""
        note = Note(
            id=new_run_id(),
            study=study,
            recipe_hash=recipe_hash,
            kind=kind,
            text=storable(text),
            author=storable(author),
            written_at=now(),
        )
        with writing(self._engine) as connection:
            connection.execute(insert(notes).values(asdict(note)))
        return note

    def notes(self) -> tuple[Note, ...]:
        """All notes, oldest first."""
        with reading(self._engine) as connection:
            return tuple(Note(**row) for row in connection.execute(select(notes).order_by(notes.c.id)).mappings())

    def make_plan(
        self,
        baseline_hash: str,
        changed_hash: str,
        *,
        data_hash: str,
        part: HeldOut,
        looks: Sequence[tuple[int, int]],
        level: float,
    ) -> SeedPlan:
        """Store the plan of a comparison before seeds are added; each comparison has one."""
        plan = SeedPlan(
            id=new_run_id(),
            baseline_hash=baseline_hash,
            changed_hash=changed_hash,
            data_hash=data_hash,
            part=part,
            looks=[list(look) for look in looks],
            level=level,
            made_at=now(),
        )
        with writing(self._engine) as connection:
            connection.execute(insert(plans).values(asdict(plan)))
        return plan

    def plans(self) -> tuple[SeedPlan, ...]:
        """All plans, oldest first."""
        with reading(self._engine) as connection:
            return tuple(SeedPlan(**row) for row in connection.execute(select(plans).order_by(plans.c.id)).mappings())

    def plan(self, baseline_hash: str, changed_hash: str, *, data_hash: str, part: HeldOut) -> SeedPlan | None:
        """The plan of a comparison in either direction, or None."""
        about = {baseline_hash, changed_hash}, data_hash, part
        found = (p for p in self.plans() if ({p.baseline_hash, p.changed_hash}, p.data_hash, p.part) == about)
        return next(found, None)
