"""The recipe or run that `flyweight doctor` examines, by its name on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING

from flyweight import __version__
from flyweight.cli.output import StoreLocation
from flyweight.errors import RecipeError, UsageError

if TYPE_CHECKING:
    from flyweight.diagnose.examine import Examined
    from flyweight.diagnose.trial_record import Trial
    from flyweight.recipe import Recipe
    from flyweight.records.record import RunRecord
    from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class NamedSubject:
    """A recipe or a run, by its name on the command line."""

    typed: str
    changes: tuple[str, ...]
    location: StoreLocation
    has_probes: bool

    @cached_property
    def store(self) -> Store:
        store: Store = self.location.store()
        store.mark_lost()
        return store

    @cached_property
    def is_recipe(self) -> bool:
        """Whether it is a recipe.

        Raises:
            UsageError: --set with a run, or --no-probes with a recipe.
        """
        from flyweight.recipe import is_recipe

        found = is_recipe(self.typed)
        if self.changes and not found:
            raise UsageError(f"--set changes a recipe, found the run {self.typed!r}; leave it out.")
        if found and not self.has_probes:
            raise UsageError(f"--no-probes needs a run, found the recipe {self.typed!r}; leave it out.")
        return found

    def examined(self, trials: Sequence[Trial] = ()) -> Examined:
        """The diagnosis with the results of trials; those of a run are read from its folder."""
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
        """The run, or None for a recipe; looked up once, since @latest changes with the next training."""
        return None if self.is_recipe else self.store.get(self.typed)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe itself, or that of the run.

        Raises:
            RecipeError: this version cannot read it.
        """
        from flyweight.experiment.recorded import recipe_of
        from flyweight.recipe import load

        if self.record is not None:
            return recipe_of(self.record)
        try:
            return load(self.typed, overrides=self.changes)
        except RecipeError as error:
            raise RecipeError(f"{error}{self._newer()}") from None

    def trust_code(self) -> None:
        """Trust the own module of the recipe, or that of the run if it is still the same."""
        from flyweight.model.own_code import require_same, trust

        net = self.recipe.model.net
        require_same(net, self.record.own_code if self.record else None)
        trust(net)

    def _newer(self) -> str:
        """A hint if the recipe has unknown keys: it may be of a newer version."""
        from flyweight.recipe import draft, flat, keys

        strange = flat(draft(self.typed)).keys() - {one.key for one in keys()}
        hint = f"\nThis is flyweight {__version__}; a recipe with unknown keys may be for a newer version."
        return hint if strange else ""

    @property
    def name(self) -> str:
        """The name or id for a suggested command; never @latest, which changes."""
        from flyweight.records.ids import SHORT_ID

        return self.typed if self.record is None else self.record.id[:SHORT_ID]

    def command(self, *options: str) -> str:
        """A `flyweight doctor` command for the same subject and store."""
        changes = (word for one in self.changes for word in ("--set", one))
        return " ".join(map(quote, ("flyweight", "doctor", self.name, *changes, *options))) + self.location.options()
