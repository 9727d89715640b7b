"""A trained net, its page, and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import flyweight
from flyweight.recipe import load
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run of a net of 20,000 parameters, after a few steps, and its page."""

    store: Store
    record: RunRecord
    path: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("page")
    store = Store.open(f"sqlite:///{folder / 'records.db'}", folder / "home")
    short = ("data.train_limit=1500", "train.epochs=1", "data.validation=500")
    record = flyweight.run(load("own/20k-fast", overrides=short), seed=0, store=store)
    written = flyweight.write_page([record.id], store, out=folder / "page.html")
    return Trained(store=store, record=record, path=written.path)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no browser: install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        # As root in a container, a browser has no sandbox of its own.
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A page in the browser. errors: of its console. requests: all addresses that it asked for."""

    page: Any
    errors: list[str]
    requests: list[str]

    def stroke(self, *points: tuple[float, float]) -> None:
        """A stroke with the mouse; the places are shares of the side of the pad."""
        box = self.page.locator("#pad").bounding_box()
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for place in at[1:]:
            self.page.mouse.move(*place, steps=6)
        self.page.mouse.up()

    def said(self) -> str:
        """What a screen reader was told, once drawing has stopped."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.wait_for_selector("#result[aria-busy=false]", state="attached")
        return str(self.page.locator("#spoken").inner_text())


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens a file: `opened(path, width=..., height=..., **options of the browser)`."""
    contexts = []

    def open_page(path: Path, *, width: int = 1200, height: int = 900, **options: Any) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        found = Opened(page=context.new_page(), errors=[], requests=[])
        found.page.on("console", lambda message: found.errors.append(message.text))
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(path.as_uri())
        return found

    yield open_page
    for context in contexts:
        context.close()
