"""Pages of journeys in a folder: NAME.md with its picture NAME.png, made from the replays that NAME.json keeps.

Goes in: a journey and what is on record of it. A page is a pure function of the JSON beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flyweight.journey.replays import Replay, merged, read, to_json
from flyweight.journey.story import Journey
from flyweight.journey.verdicts import judge
from flyweight.records.folder import make_folder, write_bytes, write_text
from flyweight.report.journey_page import index_markdown, journey_markdown, ours
from flyweight.report.journey_plots import journey_picture


def write_journey(
    journey: Journey, replays: Sequence[Replay], hashes: Mapping[str, str], folder: Path
) -> tuple[Path, ...]:
    """The records, with those that the folder has already, and the page and picture made of all of them.

    hashes: of the recipes as they are recorded, by name; replays of other recipes are dropped.
    """
    path = make_folder(folder) / f"{journey.name}.json"
    kept = tuple(one for one in merged(read(path), replays) if hashes.get(one.step) == one.recipe_hash)
    verdicts = judge(journey, kept, hashes=hashes)
    picture, page = path.with_suffix(".png"), path.with_suffix(".md")
    write_text(path, to_json(kept))
    write_bytes(picture, journey_picture(journey, verdicts))
    write_text(page, journey_markdown(journey, verdicts, ours(journey, kept), picture=picture.name))
    return path, picture, page


def write_index(journeys: Sequence[Journey], hashes: Mapping[str, Mapping[str, str]], folder: Path) -> Path:
    """All journeys in one table, README.md, from the replays that the folder keeps."""
    path = make_folder(folder) / "README.md"
    judged = [
        (journey, judge(journey, read(folder / f"{journey.name}.json"), hashes=hashes[journey.name]))
        for journey in journeys
    ]
    write_text(path, index_markdown(judged))
    return path
