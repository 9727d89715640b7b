"""What `flyweight doctor` was asked about: a recipe or a run, by the name that was typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING

from flyweight import __version__
from flyweight.cli.output import Place
from flyweight.errors import RecipeError, UsageError

if TYPE_CHECKING:
    from flyweight.diagnose.examine import Examined
    from flyweight.diagnose.trial_record import Trial
    from flyweight.recipe import Recipe
    from flyweight.records.record import RunRecord
    from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class NamedSubject:
    """A recipe or a run, as it was named."""

    typed: str
    changes: tuple[str, ...]
    place: Place
    has_probes: bool

    @cached_property
    def store(self) -> Store:
        store: Store = self.place.store()
        store.mark_lost()
        return store

    @cached_property
    def is_recipe(self) -> bool:
        """Whether it is a recipe; what can only be said of the other kind is refused.

        Raises:
            UsageError: changes of a run.
        """
        from flyweight.recipe import is_recipe

        found = is_recipe(self.typed)
        if self.changes and not found:
            raise UsageError(f"--set changes a recipe, found the run {self.typed!r}; leave it out.")
        if found and not self.has_probes:
            raise UsageError("--no-probes is about a run, and a recipe is judged without probes; leave it out.")
        return found

    def examined(self, trials: Sequence[Trial] = ()) -> Examined:
        """What is found, with what was tried: trials of a run are kept beside it, those of a recipe are handed in."""
        from flyweight.diagnose import examine
        from flyweight.doctor.diagnosis import diagnose

        if self.record is not None:
            return examine.examine_run(self.record.id, self.store, with_probes=self.has_probes)
        found = examine.examine_recipe(self.recipe)
        if not trials:
            return found
        return replace(found, diagnosis=diagnose(found.subject, tried=[one.tried for one in trials]))

    @cached_property
    def record(self) -> RunRecord | None:
        """The run; @latest may be another one after the next training."""
        return None if self.is_recipe else self.store.get(self.typed)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe itself, or that of the run.

        Raises:
            RecipeError: one that this version cannot read.
        """
        from flyweight.experiment.recorded import recipe_of
        from flyweight.recipe import load

        if self.record is not None:
            return recipe_of(self.record)
        try:
            return load(self.typed, overrides=self.changes)
        except RecipeError as error:
            raise RecipeError(f"{error}{self._newer()}") from None

    def _newer(self) -> str:
        """A hint for those who have the file of a newer version."""
        from flyweight.recipe import draft, flat, keys

        strange = flat(draft(self.typed)).keys() - {one.key for one in keys()}
        hint = f"\nThis is flyweight {__version__}, which does not know all of its keys; a newer version may."
        return hint if strange else ""

    @property
    def name(self) -> str:
        """What it is called in a command: @latest may be another run tomorrow."""
        from flyweight.records.ids import SHORT_ID

        return self.typed if self.record is None else self.record.id[:SHORT_ID]

    def command(self, *options: str) -> str:
        """What to type for this one, in the same place."""
        changes = (word for one in self.changes for word in ("--set", one))
        return " ".join(map(quote, ("flyweight", "doctor", self.name, *changes, *options))) + self.place.options()
