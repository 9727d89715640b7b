"""Pages of documents in a folder: NAME.md with its picture NAME.png, made from the replays that NAME.json keeps.

Goes in: documents and what is on record of them. A page is a pure function of the JSON beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flyweight.errors import UsageError
from flyweight.files import make_folder, write_bytes, write_text
from flyweight.report.reproduction.page import WRITTEN_BY, document_markdown, index_markdown, ours
from flyweight.report.reproduction.plots import document_picture
from flyweight.reproductions.document import Document
from flyweight.reproductions.runs import Replay, differences, merged, read, to_json
from flyweight.reproductions.verdicts import judge
from flyweight.tables import counted

INDEX = "README.md"


def write_pages(
    documents: Sequence[tuple[Document, Sequence[Replay]]],
    folder: Path,
    *,
    known: Sequence[Document],
    hashes: Mapping[str, Mapping[str, str]],
    replace: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ...]:
    """Records, picture and page of each document, and README.md over all that the folder keeps of those `known`.

    Replays that the folder has already stay, and those given join them; with `replace` those given take the place of
    kept ones of the same step and seed, and kept ones of recipes that have changed since are dropped. `say` is told
    the differences. hashes: by document, of the recorded recipes of its steps; pages leave out replays of others.

    Raises:
        UsageError: a page of that name is there that somebody else wrote; nothing is written then.
        DataError: records in the folder that are not whole; nothing is written then.
    """
    make_folder(folder)
    for name in (INDEX, *(f"{document.name}.md" for document, _ in documents)):
        _require_ours(folder / name)
    joined = {}
    for document, replays in documents:
        kept = read(folder / f"{document.name}.json")
        found, current = merged(kept, replays, replace=replace), hashes[document.name]
        _say_differences(kept, replays, len(found) - len(_current(found, current)), replace, say)
        joined[document.name] = _current(found, current) if replace else found
    paths = [
        path
        for document, _ in documents
        for path in _write(document, joined[document.name], hashes[document.name], folder)
    ]
    return (*paths, _write_index(known, hashes, folder))


def _say_differences(
    kept: Sequence[Replay], new: Sequence[Replay], n_outdated: int, replace: bool, say: Callable[[str], None]
) -> None:
    """A line for each kept replay that another one on record differs from, and what is done about it."""
    found = differences(kept, new)
    for old, other in found:
        say(f"{old.step} seed {old.seed}: kept {_in_words(old)}; on record {_in_words(other)}")
    if found:
        done = "replaced by those on record" if replace else "unchanged; --replace takes those on record"
        say(f"{counted(len(found), 'kept replay')} {done}.")
    if n_outdated:
        done = "dropped" if replace else "left out of the page; --replace drops them"
        say(f"{counted(n_outdated, 'kept replay')} of recipes that have changed since: {done}.")


def _in_words(replay: Replay) -> str:
    accuracy = "diverged" if replay.clean is None else f"{replay.clean.accuracy:.2%}"
    facts = [str(replay.machine[name]) for name in ("processor", "precision", "kernels") if name in replay.machine]
    return f"{accuracy} ({', '.join(facts) or 'unknown machine'})"


def _current(replays: Sequence[Replay], hashes: Mapping[str, str]) -> tuple[Replay, ...]:
    """Those of the recipes that the steps have now."""
    return tuple(one for one in replays if hashes.get(one.step) == one.recipe_hash)


def _write(
    document: Document, replays: Sequence[Replay], hashes: Mapping[str, str], folder: Path
) -> tuple[Path, Path, Path]:
    records, picture, page = (folder / f"{document.name}.{kind}" for kind in ("json", "png", "md"))
    write_text(records, to_json(replays))
    replays = _current(replays, hashes)
    verdicts = judge(document, replays, hashes=hashes)
    write_bytes(picture, document_picture(document, verdicts))
    write_text(page, document_markdown(document, verdicts, ours(document, replays), picture=picture.name))
    return records, picture, page


def _write_index(known: Sequence[Document], hashes: Mapping[str, Mapping[str, str]], folder: Path) -> Path:
    judged = []
    for document in known:
        path = folder / f"{document.name}.json"
        if path.exists():
            replays = _current(read(path), hashes[document.name])
            verdicts = judge(document, replays, hashes=hashes[document.name])
            judged.append((document, verdicts, ours(document, replays)))
    write_text(folder / INDEX, index_markdown(judged))
    return folder / INDEX


def _require_ours(path: Path) -> None:
    """Refuse to write over a page that somebody else wrote."""
    if path.exists() and not path.read_bytes().startswith(WRITTEN_BY.encode()):
        raise UsageError(f"{path} exists and was not written by flyweight; choose another folder with --out.")
