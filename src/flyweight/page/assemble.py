"""One HTML file from what the page shows: its scripts and style are files of this folder, joined as they are.

A content security policy forbids every request and every script but these, so that texts of others do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

from flyweight.page.content import PageContent

SCRIPTS: Final = (
    "prepare.js",
    "net.js",
    "view.js",
    "draw.js",
    "answer.js",
    "inside.js",
    "story.js",
    "lessons.js",
    "page.js",
    "start.js",
)


def page_html(contents: Sequence[PageContent]) -> str:
    """The page of one net, or of two that read the same picture."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    style, scripts = _text("page.css"), [_text(name) for name in SCRIPTS]
    environment = Environment(loader=PackageLoader("flyweight.page", ""), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        title=" and ".join(content.title for content in contents),
        policy=_policy(style, scripts),
        style=_trusted(style),
        scripts=[_trusted(script) for script in scripts],
        values=_trusted(_as_json({"nets": [content.values for content in contents]})),
    )


def _text(name: str) -> str:
    return (files("flyweight.page") / name).read_text(encoding="utf-8")


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Only these scripts and this style; no request to anywhere, no plugin, no form, no other base."""
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _as_json(values: Any) -> str:
    """JSON that cannot end the element it stands in, whatever it holds."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _trusted(text: str) -> Any:
    """Text of this package, or already escaped."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704
