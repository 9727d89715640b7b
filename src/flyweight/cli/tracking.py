"""`--track` and `flyweight sync`: runs told to the trackers that people already use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flyweight.cli.output import Flag, Place, say, say_json, talk
from flyweight.errors import FlyweightError

if TYPE_CHECKING:
    from flyweight.experiment.events import Event
    from flyweight.records.store import Store

TrackerName = Literal["mlflow", "tensorboard", "wandb"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Who else is told of runs."""

    track: Annotated[tuple[TrackerName, ...], Parameter(negative="", show_default=False)] = ()
    "Tell mlflow, tensorboard or wandb of the runs as they happen; may be repeated. Default: FLYWEIGHT_TRACK."

    def names(self) -> tuple[str, ...]:
        """Those given, else those that FLYWEIGHT_TRACK lists with commas."""
        listed = os.environ.get("FLYWEIGHT_TRACK", "").split(",")
        return self.track or tuple(name.strip() for name in listed if name.strip())


@contextmanager
def told_too(
    watch: Callable[[Event], None], tracking: Tracking | None, store: Store
) -> Iterator[Callable[[Event], None]]:
    """`watch`, with the trackers told of all that is on record by then."""
    names = (tracking or Tracking()).names()
    if not names:
        yield watch
        return
    from flyweight.exchange import tracking as telling
    from flyweight.experiment.events import Stepped

    with telling(names, store, warn=talk) as note:

        def both(event: Event) -> None:
            watch(event)
            if not isinstance(event, Stepped):
                note(event.run_id)

        yield both


def sync(
    *trackers: TrackerName,
    json: Annotated[bool, Flag] = False,
    place: Place | None = None,
) -> int:
    """Send to trackers what could not be sent when it happened.

    $ flyweight sync

    $ flyweight sync mlflow

    Parameters
    ----------
    trackers
        mlflow, tensorboard or wandb; all unless told.
    json
        Print what was sent and what still waits as JSON.
    """
    from dataclasses import asdict

    from flyweight.exchange import sync as send

    done = send((place or Place()).store(), trackers or None, warn=talk)
    if json:
        say_json(asdict(done))
    else:
        for parcel in done.gone:
            talk(f"{parcel.tracker}: run {parcel.run_id} is no longer on record; nothing is left to send")
        waiting = f", {len(done.still_pending)} still waiting" if done.still_pending else ""
        say(f"{len(done.sent)} sent{waiting}" if done.sent or done.still_pending else "nothing was waiting")
    return FlyweightError.exit_code if done.still_pending else 0
