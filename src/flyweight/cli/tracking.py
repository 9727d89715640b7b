"""`--track` and `flyweight sync`: send runs to MLflow, TensorBoard or Weights & Biases."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flyweight.cli.output import Flag, StoreLocation, say, say_json, talk
from flyweight.errors import FlyweightError

if TYPE_CHECKING:
    from flyweight.experiment.events import Event
    from flyweight.records.store import Store

TrackerName = Literal["mlflow", "tensorboard", "wandb"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Tracking:
    """The trackers that runs are sent to."""

    track: Annotated[tuple[TrackerName, ...], Parameter(negative="", show_default=False)] = ()
    "Also send the runs to mlflow, tensorboard or wandb while they train; may be repeated. Default: $FLYWEIGHT_TRACK."

    def names(self) -> tuple[str, ...]:
        """The given trackers, or else those in FLYWEIGHT_TRACK, separated by commas."""
        listed = os.environ.get("FLYWEIGHT_TRACK", "").split(",")
        return self.track or tuple(name.strip() for name in listed if name.strip())


@contextmanager
def tracked(tracking: Tracking | None, store: Store) -> Iterator[Callable[[Event], None]]:
    """A function that sends the records to the trackers after each event; at the end it waits for them a while.

    Ctrl-C during that wait ends the program: the runs are over by then, and `sync` sends the rest later.
    """
    names = (tracking or Tracking()).names()
    if not names:
        yield lambda _event: None
        return
    from flyweight.experiment.events import Reused, StackEpochDone, StackStepped, Stepped
    from flyweight.trackers import address_of, require_known, where
    from flyweight.trackers import tracking as tracking_of

    for name in names:
        require_known(name)
        talk(f"tracking: {name} at {where(name, address_of(name), store.home)}")
    silent = Stepped | StackStepped | StackEpochDone | Reused
    with tracking_of(names, store, warn=talk) as note:
        yield lambda event: None if isinstance(event, silent) else note(event.run_id)


def both(first: Callable[[Event], None], second: Callable[[Event], None]) -> Callable[[Event], None]:
    """A function that passes each event to both."""

    def watch(event: Event) -> None:
        first(event)
        second(event)

    return watch


def sync(
    *trackers: TrackerName,
    here: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> int:
    """Send what --track could not send to the trackers while runs trained, each to the address it was meant for.

    $ flyweight sync

    $ flyweight sync mlflow

    Parameters
    ----------
    trackers
        Trackers to send to. Default: all that have something waiting.
    here
        Send to the addresses that are set now (as MLFLOW_TRACKING_URI) instead of those the runs were meant for.
    json
        Print what was sent and what is still waiting as JSON.
    """
    from dataclasses import asdict

    from flyweight.records.ids import SHORT_ID
    from flyweight.trackers import sync as send

    done = send((location or StoreLocation()).store(), trackers or None, warn=talk, here=here)
    if json:
        say_json(asdict(done))
    else:
        for parcel in (*done.gone, *done.still_pending):
            at = f" at {parcel.address}" if parcel.address else ""
            talk(f"{parcel.tracker}{at}: run {parcel.run_id[:SHORT_ID]}: {parcel.reason}")
        waiting = f", {len(done.still_pending)} still waiting" if done.still_pending else ""
        sent = Counter((parcel.tracker, parcel.address) for parcel in done.sent)
        to = ", ".join(f"{n} to {name} at {address}" for (name, address), n in sent.items())
        say(f"sent: {to or 'none'}{waiting}" if done.sent or done.still_pending else "nothing was waiting")
    return FlyweightError.exit_code if any(not parcel.is_running for parcel in done.still_pending) else 0
