"""The page of runs as a file: `write_page`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flyweight import files
from flyweight.errors import in_one_line
from flyweight.page.assemble import page_html
from flyweight.page.content import content_of, find_run
from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class WrittenPage:
    path: Path
    n_bytes: int


@in_one_line
def write_page(
    names: Sequence[str], store: Store, *, out: Path | None = None, with_images: bool = False
) -> WrittenPage:
    """Write the page of a run, or of two that read the same picture. names: selectors of runs, or names of recipes.

    out: the file; default: the name of the recipe in this folder. with_images: embed images of a user's own set.

    Raises:
        UsageError: no such run, or a net that cannot be computed in integers. DataError: its files or images changed.
    """
    contents = [content_of(find_run(name, store), store, with_images=with_images) for name in names]
    path = out if out is not None else Path(f"{_file_name('-'.join(content.title for content in contents))}.html")
    html = page_html(contents).encode()
    files.make_folder(path.parent)
    files.write_bytes(path, html)
    return WrittenPage(path=path, n_bytes=len(html))


def _file_name(title: str) -> str:
    """What a file may be called on any system.

    >>> _file_name("own/20k-fast"), _file_name("../数字")
    ('own-20k-fast', 'page')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:80].rstrip("-.") or "page"
