"""`flyweight doctor --lr`: a range of good learning rates."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flyweight.cli.doctor.named import NamedSubject
from flyweight.cli.output import say, say_json, talk


def look_for_lr(named: NamedSubject, seeds: int | None, *, as_json: bool) -> int:
    """Test learning rates with a recipe, or with the recipe of a run."""
    from flyweight.cli.watch import announce_compiling
    from flyweight.diagnose.lr_range import lr_range
    from flyweight.execute.signals import stopping_on_signals
    from flyweight.report.diagnosis.text import next_lines, train_command
    from flyweight.report.diagnosis.trials import lr_range_text, seed_words

    recipe = named.recipe
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    announce_compiling()
    with stopping_on_signals() as stop:
        found = lr_range(
            recipe, watch=lambda one: talk(f"seed {one.seed}  {seed_words(one)}"), should_stop=stop, **settings
        )
    if found is not None and as_json:
        say_json({"recipe": recipe.name, **asdict(found)})
    elif found is not None:
        say(lr_range_text(found, name=recipe.name))
        if named.is_recipe and found.suggestion is not None and found.where != "inside":
            change = f"train.lr={found.suggestion:.3g}"
            say("\n".join(next_lines([train_command(named.typed, (*named.changes, change))])))
    if stop():
        talk("stopped before all seeds were tested")
    return stop.exit_code if stop() else 0
