"""Faults in a training script or notebook, found by reading its text; nothing of it is run."""
