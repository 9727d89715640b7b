"""The author of a note: the given name, else $FLYWEIGHT_AUTHOR, else the login name."""

from __future__ import annotations

import getpass
import os

from flyweight.errors import UsageError


def author_or_default(given: str | None = None) -> str:
    """The author's name.

    Raises:
        UsageError: an empty name, or none to be found (a container without users).
    """
    if given is not None and not given.strip():
        raise UsageError("--author must be a name, found an empty one; leave it out for your own.")
    name = given or os.environ.get("FLYWEIGHT_AUTHOR") or _login()
    if not name:
        raise UsageError("a note needs an author and this machine knows no name; give --author or FLYWEIGHT_AUTHOR.")
    return name.strip()


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user, as in a bare container; KeyError until Python 3.13
        return ""
