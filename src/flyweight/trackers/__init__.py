"""Runs for other programs: sent to trackers, or written as one table to a file. Everything comes from records."""

from flyweight.trackers.delivery import Parcel, SyncReport, pending, sync, tracking
from flyweight.trackers.run_table import write_table
from flyweight.trackers.trackers import TRACKERS, Tracker

__all__ = ["TRACKERS", "Parcel", "SyncReport", "Tracker", "pending", "sync", "tracking", "write_table"]
