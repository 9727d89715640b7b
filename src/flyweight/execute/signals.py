"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal) set a flag that a loop reads after each step; none raises in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Final

STOPPING: Final = "stopping: a run is saved after its step, or measured to its end; Ctrl-C again ends it at once"


@dataclass
class StopRequest:
    """True when called after a signal. signal_number: the first signal, or 0."""

    signal_number: int = 0

    def __call__(self) -> bool:
        return self.signal_number != 0

    @property
    def exit_code(self) -> int:
        """The exit code that shells expect after a signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal_number


@contextmanager
def stopping_on_signals(announcement: str = "") -> Iterator[StopRequest]:
    """Within, the first signal of a kind only sets the flag; a second one of the same kind acts as usual.

    announcement: written to stderr at the first signal, since the step or evaluation under way may take seconds.
    Works only in the main thread of a process.
    """
    request = StopRequest()
    kinds = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    ignored = {number for number in kinds if signal.getsignal(number) == signal.SIG_IGN}  # as under nohup
    before = {number: signal.getsignal(number) for number in kinds if number not in ignored}

    def note(number: int, _frame: FrameType | None) -> None:
        if announcement and not request.signal_number:
            # Not by `print`: it may be what the signal interrupted. A closed terminal has nobody to read it.
            with suppress(OSError):
                os.write(2, f"\n{announcement}\n".encode())
        request.signal_number = request.signal_number or number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
