"""Runs for other programs: sent to trackers, or written as one table to a file. Everything comes from records."""

from flyweight.trackers.delivery import Parcel, SyncReport, pending, sync, tracking
from flyweight.trackers.run_table import write_table
from flyweight.trackers.trackers import TRACKERS, Tracker, address_of, require_known, where

__all__ = [
    "TRACKERS",
    "Parcel",
    "SyncReport",
    "Tracker",
    "address_of",
    "pending",
    "require_known",
    "sync",
    "tracking",
    "where",
    "write_table",
]
