"""Pages of this room: templates filled with escaped values, names for their files, links from one to another."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flyweight.report.wording import in_points, plain_lines
from flyweight.tables import plain

if TYPE_CHECKING:
    from flyweight.records.store import Store

LONGEST_FILE_NAME: Final = 60


def file_name(text: str) -> str:
    """What a file may be called on any system, as like the text as that allows.

    >>> file_name("own/20k-fast"), file_name("../../etc"), file_name("数字")
    ('own-20k-fast', 'etc', 'unnamed')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    return safe[:LONGEST_FILE_NAME].rstrip("-.") or "unnamed"


def report_links(store: Store, folder: Path) -> Callable[[str], str | None]:
    """Gives a function from a run's id to its report as a page in `folder` links to it; None if it has none."""
    runs = os.path.relpath((store.home / "runs").resolve(), folder.resolve())

    def link(run_id: str) -> str | None:
        found = store.folder(run_id)
        return quote(f"{runs}/{run_id}/{found.file('report').name}") if found.has("report") else None

    return link


def render(template: str, **values: Any) -> str:
    """A page of this room, with every value escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flyweight.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["plain_lines"] = plain_lines
    environment.filters["points"] = in_points
    return environment.get_template(template).render(**values)
