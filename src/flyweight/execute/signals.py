"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal) set a flag that a loop reads after each step; none raises in it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


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
def stopping_on_signals() -> Iterator[StopRequest]:
    """Within, the first signal of a kind only sets the flag; a second one of the same kind acts as usual.

    Works only in the main thread of a process.
    """
    request = StopRequest()
    kinds = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    ignored = {number for number in kinds if signal.getsignal(number) == signal.SIG_IGN}  # as under nohup
    before = {number: signal.getsignal(number) for number in kinds if number not in ignored}

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal_number = request.signal_number or number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
