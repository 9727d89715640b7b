"""Runs given to other programs: to the trackers that people already use, and as one table in a file.

Everything is made from records. What a net or a training is this room does not know, nor who asks.
"""

from flyweight.trackers.delivery import Parcel, SyncReport, pending, sync, tracking
from flyweight.trackers.run_table import write_table
from flyweight.trackers.trackers import TRACKERS, Tracker

__all__ = ["TRACKERS", "Parcel", "SyncReport", "Tracker", "pending", "sync", "tracking", "write_table"]
