"""Speed, side by side: the same work done the usual way and by the engine, in turns."""
