"""Speed, side by side: the same work done the usual way and ours, alternating in one run."""
