"""Pages of journeys in a folder: NAME.md with its picture NAME.png, made from the replays that NAME.json keeps.

Goes in: journeys and what is on record of them. A page is a pure function of the JSON beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flyweight.errors import UsageError
from flyweight.records.files import make_folder, write_bytes, write_text
from flyweight.report.reproduction.page import WRITTEN_BY, index_markdown, journey_markdown, ours
from flyweight.report.reproduction.plots import journey_picture
from flyweight.reproductions.document import Journey
from flyweight.reproductions.runs import Replay, merged, read, to_json
from flyweight.reproductions.verdicts import judge

INDEX = "README.md"


def write_pages(
    journeys: Sequence[tuple[Journey, Sequence[Replay]]],
    folder: Path,
    *,
    known: Sequence[Journey],
    hashes: Mapping[str, Mapping[str, str]],
) -> tuple[Path, ...]:
    """Records, picture and page of each journey, and README.md over all that the folder keeps of those `known`.

    Replays that the folder has already stay, and those given join them. hashes: by journey, of the recipes of its steps
    as they are recorded; replays of other recipes are dropped.

    Raises:
        UsageError: a page of that name is there that somebody else wrote; nothing is written then.
        DataError: records in the folder that are not whole; nothing is written then.
    """
    make_folder(folder)
    for name in (INDEX, *(f"{journey.name}.md" for journey, _ in journeys)):
        _require_ours(folder / name)
    kept = {
        journey.name: tuple(
            one
            for one in merged(read(folder / f"{journey.name}.json"), replays)
            if hashes[journey.name].get(one.step) == one.recipe_hash
        )
        for journey, replays in journeys
    }
    paths = [
        path for journey, _ in journeys for path in _write(journey, kept[journey.name], hashes[journey.name], folder)
    ]
    return (*paths, _write_index(known, hashes, folder))


def _write(
    journey: Journey, replays: Sequence[Replay], hashes: Mapping[str, str], folder: Path
) -> tuple[Path, Path, Path]:
    verdicts = judge(journey, replays, hashes=hashes)
    records, picture, page = (folder / f"{journey.name}.{kind}" for kind in ("json", "png", "md"))
    write_text(records, to_json(replays))
    write_bytes(picture, journey_picture(journey, verdicts))
    write_text(page, journey_markdown(journey, verdicts, ours(journey, replays), picture=picture.name))
    return records, picture, page


def _write_index(known: Sequence[Journey], hashes: Mapping[str, Mapping[str, str]], folder: Path) -> Path:
    judged = []
    for journey in known:
        path = folder / f"{journey.name}.json"
        if path.exists():
            replays = read(path)
            verdicts = judge(journey, replays, hashes=hashes[journey.name])
            judged.append((journey, verdicts, ours(journey, replays)))
    write_text(folder / INDEX, index_markdown(judged))
    return folder / INDEX


def _require_ours(path: Path) -> None:
    """Refuse to write over a page that somebody else wrote."""
    if path.exists() and not path.read_bytes().startswith(WRITTEN_BY.encode()):
        raise UsageError(f"{path} is there and was not written by flyweight; choose another folder with --to.")
