"""Send runs to trackers while they train, and later what could not be sent then.

A waiting run has a marker file, `HOME/pending/TRACKER/RUN_ID`, with the address it is meant for. The marker is created
before sending and deleted when the tracker has all of a completed run, so a killed process leaves it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flyweight.errors import UsageError, in_one_line
from flyweight.records.ids import is_run_id
from flyweight.trackers.trackers import (
    ADDRESS,
    TRACKERS,
    Tracker,
    address_of,
    at_address,
    open_tracker,
    require_installed,
    require_known,
    where,
)

if TYPE_CHECKING:
    from flyweight.records.record import EpochRecord, RunRecord
    from flyweight.records.store import Store

WAIT_SECONDS: Final = 60.0
# After this many failures in a row, stop trying; a single refused run does not stop the others.
FAILURES_IN_A_ROW: Final = 3
REASON_CHARACTERS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One run for one tracker; `reason` is why it was not sent, or empty.

    address: where it goes, in words. is_running: the run is in progress, and its process sends it.
    """

    tracker: str
    run_id: str
    address: str = ""
    reason: str = ""
    is_running: bool = False


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """The result of `sync`. gone: the folder of the run was deleted, and so was its marker."""

    sent: tuple[Parcel, ...]
    still_pending: tuple[Parcel, ...]
    gone: tuple[Parcel, ...]


@in_one_line
@contextmanager
def tracking(
    names: Sequence[str], store: Store, *, warn: Callable[[str], None], wait_seconds: float = WAIT_SECONDS
) -> Iterator[Callable[[str], None]]:
    """A function to call with the id of a run when it starts, after each epoch, and when it ends.

    It returns immediately; a thread per tracker reads the records and sends them. The first failure of a tracker is one
    line to `warn`, from its thread; failures never stop the training. At the end it waits for the threads, at most
    `wait_seconds`; `sync` sends the rest later.

    Raises:
        UsageError: no tracker has that name. MissingError: the package of one is not installed.
    """
    for name in names:
        require_known(name)
        require_installed(name)
    senders = [_Sender(name, store, warn) for name in dict.fromkeys(names)]

    def note(run_id: str) -> None:
        for sender in senders:
            sender.note(run_id)

    try:
        yield note
    finally:
        deadline = time.monotonic() + wait_seconds
        for sender in senders:
            sender.close()
        for sender in senders:
            sender.wait(deadline, wait_seconds)


def pending(home: Path, names: Sequence[str] | None = None) -> tuple[Parcel, ...]:
    """Waiting runs of the named trackers, by default of all, sorted by tracker and time."""
    for name in names or ():
        require_known(name)
    return tuple(
        Parcel(tracker=name, run_id=path.name, address=where(name, _address(path), home))
        for name in dict.fromkeys(names or TRACKERS)
        for path in sorted(_folder(home, name).glob("*"))
        if is_run_id(path.name)
    )


@in_one_line
def sync(
    store: Store, names: Sequence[str] | None = None, *, warn: Callable[[str], None], here: bool = False
) -> SyncReport:
    """Send waiting runs to the named trackers, by default to all; a tracker that fails is one line to `warn`.

    Each goes to the address it was meant for when it trained, whatever the environment says now; with `here` to the
    one of the environment. A run in progress is left to its own process; a run whose process is gone is first closed
    as lost.

    Raises:
        UsageError: no tracker has that name, or another `sync` is running.
    """
    waiting = pending(store.home, names)
    store.mark_lost()
    done: list[Parcel] = []
    gone: list[Parcel] = []
    with _sync_lock(store.home):
        for name in dict.fromkeys(parcel.tracker for parcel in waiting):
            ids = [parcel.run_id for parcel in waiting if parcel.tracker == name]
            kept = [run_id for run_id in ids if store.folder(run_id).path.is_dir()]
            gone += [_dropped(store.home, name, run_id) for run_id in ids if run_id not in kept]
            by_address: dict[tuple[tuple[str, str], ...], list[str]] = {}
            for run_id in kept:
                address = address_of(name) if here else _address(_marker(store.home, name, run_id))
                by_address.setdefault(tuple(address.items()), []).append(run_id)
            for pairs, some in by_address.items():
                with at_address(name, dict(pairs)):
                    done += _send_all(name, some, store, warn=warn)
    return SyncReport(
        sent=tuple(parcel for parcel in done if not parcel.reason),
        still_pending=tuple(parcel for parcel in done if parcel.reason),
        gone=tuple(gone),
    )


class _Sender:
    """Sends updates of runs to one tracker in its own thread, so a slow tracker delays nothing."""

    def __init__(self, name: str, store: Store, warn: Callable[[str], None]) -> None:
        self._name = name
        self._store = store
        self._warn = warn
        self._tracker: Tracker | None = None
        self._updates: dict[str, None] = {}  # an ordered set: a run has at most one waiting update
        self._noted: dict[str, None] = {}
        self._sent: dict[str, tuple[RunRecord, tuple[EpochRecord, ...]]] = {}
        self._change = threading.Condition()
        self._is_closing = False
        self._has_warned = False
        # A daemon thread, so that a hanging tracker does not prevent the program from ending.
        self._thread = threading.Thread(target=self._work, name=f"to {name}", daemon=True)
        self._thread.start()

    def note(self, run_id: str) -> None:
        """Queue an update of a run."""
        with suppress(OSError):  # the thread tries again, and reports it
            _mark(self._store.home, self._name, run_id)
        with self._change:
            self._noted[run_id] = self._updates[run_id] = None
            self._change.notify()

    def close(self) -> None:
        """Send the rest, and again all incomplete runs: one ended by an error had no last update."""
        with self._change:
            left = {parcel.run_id for parcel in pending(self._store.home, [self._name])}
            self._updates |= {run_id: None for run_id in self._noted if run_id in left}
            self._is_closing = True
            self._change.notify()

    def wait(self, deadline: float, wait_seconds: float) -> None:
        """Wait until everything is sent, or for the deadline."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._warn_once(f"did not take everything within {wait_seconds:g} s")

    def _work(self) -> None:
        while (run_id := self._next()) is not None:
            try:
                self._send(run_id)
            except Exception as error:  # whatever a tracker's package throws, training goes on
                self._warn_once(_reason(error))
                if self._is_closing:
                    break
        if self._tracker is not None:
            with suppress(Exception):  # the same; what was sent is sent
                self._tracker.close()

    def _next(self) -> str | None:
        with self._change:
            self._change.wait_for(lambda: self._updates or self._is_closing)
            run_id = next(iter(self._updates), None)
            if run_id is not None:
                del self._updates[run_id]
            return run_id

    def _send(self, run_id: str) -> None:
        if self._tracker is None:
            self._tracker = open_tracker(self._name, self._store.home)
        # Read before the epochs, so that those of a run that is over are all there.
        run = self._store.get(run_id)
        epochs = self._store.epochs(run_id)
        with _marked(self._store.home, self._name, run):
            if self._sent.get(run_id) != (run, epochs):
                self._tracker.send(run, epochs)
                self._sent[run_id] = (run, epochs)

    def _warn_once(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._warn(f"{self._name}: {reason}; the runs are stored, and `flyweight sync` sends them later")


def _send_all(name: str, ids: Sequence[str], store: Store, *, warn: Callable[[str], None]) -> Iterator[Parcel]:
    """Send each completed run, until the tracker fails too often."""
    tracker: Tracker | None = None
    address = where(name, address_of(name), store.home)
    failures: list[str] = []
    in_a_row = 0
    for run_id in ids:
        run, reason = _on_record(store, run_id), ""
        if run is None:
            reason = "this database has no record of it; another one may (FLYWEIGHT_DATABASE)"
        elif run.status == "running":
            reason = f"still running (process {run.pid} on {run.host})"
        elif in_a_row == FAILURES_IN_A_ROW:
            reason = failures[-1]
        else:
            try:
                tracker = tracker or open_tracker(name, store.home)
                with _marked(store.home, name, run):
                    tracker.send(run, store.epochs(run.id))
                in_a_row = 0
            except Exception as error:  # whatever a tracker's package throws, the others are still sent to
                reason = _reason(error)
                failures.append(reason)
                in_a_row += 1
        is_running = run is not None and run.status == "running"
        yield Parcel(tracker=name, run_id=run_id, address=address, reason=reason, is_running=is_running)
    if tracker is not None:
        with suppress(Exception):  # the same
            tracker.close()
    if failures:
        warn(f"{name} at {address}: {failures[0]}; the rest is left for the next `flyweight sync`")


@contextmanager
def _marked(home: Path, name: str, run: RunRecord) -> Iterator[None]:
    """Create the marker before sending a run; delete it afterwards if the run is complete."""
    _mark(home, name, run.id)
    yield
    if run.status != "running":
        _marker(home, name, run.id).unlink(missing_ok=True)


def _on_record(store: Store, run_id: str) -> RunRecord | None:
    try:
        return store.get(run_id)
    except UsageError:
        return None


def _dropped(home: Path, name: str, run_id: str) -> Parcel:
    _marker(home, name, run_id).unlink(missing_ok=True)
    return Parcel(tracker=name, run_id=run_id, reason="its folder was deleted")


@contextmanager
def _sync_lock(home: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder = home / "pending"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "sync.lock", timeout=0):
            yield
    except Timeout:
        raise UsageError("another `flyweight sync` is running; wait until it ends.") from None


def _mark(home: Path, name: str, run_id: str) -> None:
    """Create the marker, which only its owner can read: an address may hold a password."""
    marker, address = _marker(home, name, run_id), json.dumps(address_of(name))
    marker.parent.mkdir(parents=True, exist_ok=True)
    if not marker.exists() or marker.read_text(encoding="utf-8") != address:
        marker.touch(mode=0o600)
        marker.write_text(address, encoding="utf-8")


def _address(marker: Path) -> dict[str, str]:
    """The address of a waiting run; markers of before have none and go where the environment says."""
    name = marker.parent.name
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        return {variable: str(found[variable]) for variable in ADDRESS[name] if variable in found}
    except (OSError, ValueError, TypeError):
        return address_of(name)


def _marker(home: Path, name: str, run_id: str) -> Path:
    return _folder(home, name) / run_id


def _folder(home: Path, name: str) -> Path:
    return home / "pending" / name


def _reason(error: Exception) -> str:
    """The first line of an error, shortened."""
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    return first if len(first) <= REASON_CHARACTERS else f"{first[:REASON_CHARACTERS]}..."
