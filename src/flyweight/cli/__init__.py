"""One file per verb; `main` is what the shell calls."""

from flyweight.cli.app import main

__all__ = ["main"]
