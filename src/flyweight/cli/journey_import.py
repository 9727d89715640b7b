"""`flyweight journey import`: check the figures in a table of experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flyweight import files
from flyweight.cli.output import OutputFormat, print_rows, talk
from flyweight.errors import DataError
from flyweight.tables import counted

MAX_BYTES: Final = 500_000_000


def import_table(
    file: Path,
    /,
    *,
    parameters: str | None = None,
    accuracy: str | None = None,
    change: str | None = None,
    net: str | None = None,
    step: str | None = None,
    images: int = 10_000,
    budget: str | None = None,
    output: OutputFormat | None = None,
) -> None:
    """Find figures that cannot be right, and differences that may be chance, in a Markdown table of experiments.

    Parameter counts are checked against the net and the change, accuracies against the number of images, and rows
    against the row before. Columns are recognised by their headers; name them if that fails.

    $ flyweight journey import experiments.md

    $ flyweight journey import experiments.md --accuracy "Val acc" --images 5000 --budget 20k

    Parameters
    ----------
    file
        A Markdown file with a table that has a row or a column per experiment.
    parameters
        Header of the column with the parameter counts.
    accuracy
        Header of the column with the accuracies to check.
    change
        Header of the column that says what was changed.
    net
        Header of the column with the nets, in the notation of flyweight.
    step
        Header of the column with the names of the rows.
    images
        Number of images that the accuracies were measured on.
    budget
        Limit of the parameters, such as 20k.
    """
    from flyweight.model.budget import parse_budget
    from flyweight.reproductions.log_import.doubts import doubts
    from flyweight.reproductions.log_import.reading import read_table

    limit = parse_budget([budget]).params if budget else None
    named = {"parameters": parameters, "accuracy": accuracy, "change": change, "net": net, "step": step}
    table = read_table(_text(file), label=str(file), columns={key: header for key, header in named.items() if header})
    found = doubts(table, images=images, limit=limit)
    rows = [{"row": one.row, "column": one.column, "doubt": one.kind, "why": one.sentence} for one in found]
    print_rows(rows, output or OutputFormat(), wraps=True)
    for note in table.notes:
        talk(note)
    talk(f"{counted(len(table.rows), 'row')} read; {counted(len(found), 'doubt') if found else 'no doubts'}.")


def _text(file: Path) -> str:
    try:
        return files.read_bytes(file, max_bytes=MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} must be text in UTF-8, found other bytes.") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from error
