"""Pages of documents in a folder: NAME.md with its picture NAME.png, made from the replays that NAME.json keeps.

Goes in: documents and what is on record of them. A page is a pure function of the JSON beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flyweight.errors import UsageError
from flyweight.files import make_folder, write_bytes, write_text
from flyweight.report.reproduction.page import WRITTEN_BY, document_markdown, index_markdown, ours
from flyweight.report.reproduction.plots import document_picture
from flyweight.reproductions.document import Document
from flyweight.reproductions.runs import Replay, merged, read, to_json
from flyweight.reproductions.verdicts import judge

INDEX = "README.md"


def write_pages(
    documents: Sequence[tuple[Document, Sequence[Replay]]],
    folder: Path,
    *,
    known: Sequence[Document],
    hashes: Mapping[str, Mapping[str, str]],
) -> tuple[Path, ...]:
    """Records, picture and page of each document, and README.md over all that the folder keeps of those `known`.

    Replays that the folder has already stay, and those given join them. hashes: by document, of the recorded recipes
    of its steps; replays of other recipes are dropped.

    Raises:
        UsageError: a page of that name is there that somebody else wrote; nothing is written then.
        DataError: records in the folder that are not whole; nothing is written then.
    """
    make_folder(folder)
    for name in (INDEX, *(f"{document.name}.md" for document, _ in documents)):
        _require_ours(folder / name)
    kept = {
        document.name: tuple(
            one
            for one in merged(read(folder / f"{document.name}.json"), replays)
            if hashes[document.name].get(one.step) == one.recipe_hash
        )
        for document, replays in documents
    }
    paths = [
        path
        for document, _ in documents
        for path in _write(document, kept[document.name], hashes[document.name], folder)
    ]
    return (*paths, _write_index(known, hashes, folder))


def _write(
    document: Document, replays: Sequence[Replay], hashes: Mapping[str, str], folder: Path
) -> tuple[Path, Path, Path]:
    verdicts = judge(document, replays, hashes=hashes)
    records, picture, page = (folder / f"{document.name}.{kind}" for kind in ("json", "png", "md"))
    write_text(records, to_json(replays))
    write_bytes(picture, document_picture(document, verdicts))
    write_text(page, document_markdown(document, verdicts, ours(document, replays), picture=picture.name))
    return records, picture, page


def _write_index(known: Sequence[Document], hashes: Mapping[str, Mapping[str, str]], folder: Path) -> Path:
    judged = []
    for document in known:
        path = folder / f"{document.name}.json"
        if path.exists():
            replays = read(path)
            verdicts = judge(document, replays, hashes=hashes[document.name])
            judged.append((document, verdicts, ours(document, replays)))
    write_text(folder / INDEX, index_markdown(judged))
    return folder / INDEX


def _require_ours(path: Path) -> None:
    """Refuse to write over a page that somebody else wrote."""
    if path.exists() and not path.read_bytes().startswith(WRITTEN_BY.encode()):
        raise UsageError(f"{path} exists and was not written by flyweight; choose another folder with --out.")
