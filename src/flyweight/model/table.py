"""The cost table of `flyweight show` as text, JSON, Markdown or CSV.

In: a `Cost`, a `Budget`, and edits. Out: a string or a dict; nothing is counted here. The conventions behind the
numbers are in docs/counting.md.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from flyweight.model.arithmetic import shape_text
from flyweight.model.budget import KINDS, Budget, limit_checks, needs
from flyweight.model.cost import FLOAT32_BYTES, Cost, Row
from flyweight.model.edits import Edit
from flyweight.model.int8_cost import Int8Cost
from flyweight.tables import WIDTH, Column, Markdown, Table, as_csv, as_markdown, as_text, in_markdown, table_of

NO_BUDGET: Final = Budget()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the cost and its share of the parameter budget (without a budget, of the net)."""

    row: Row
    share: float


def lines(cost: Cost, budget: Budget = NO_BUDGET) -> tuple[Line, ...]:
    """Every row with its share of the parameter budget (without a budget, of the net)."""
    whole = budget.params or cost.params or 1
    return tuple(Line(row=row, share=row.params / whole if row.is_executed else 0.0) for row in cost.rows)


def cost_values(cost: Cost, budget: Budget = NO_BUDGET, edits: Sequence[Edit] = ()) -> dict[str, Any]:
    """All values for JSON; unknown values are None."""
    return {
        "net": cost.net,
        "input_shape": list(cost.input_shape),
        "output_shape": list(cost.out_shape),
        "layers": [_line_as_dict(line) for line in lines(cost, budget)],
        "params": cost.params,
        "registered_params": cost.registered_params,
        "frozen_params": cost.frozen_params,
        "buffers": cost.buffers,
        "macs": cost.macs,
        "uncounted": list(cost.uncounted),
        "activation_bytes": cost.activation_bytes,
        "flash_bytes": cost.flash_bytes,
        "int8_bytes": cost.int8_bytes,
        "int8_flash": None if cost.int8_export is None else cost.int8_export.flash,
        "int8_ram": None if cost.int8_export is None else cost.int8_export.ram,
        "budget": budget.limits(),
        "fits": all(one.fits for one in limit_checks(budget, cost)),
        "verdicts": [
            {"kind": one.kind, "needed": one.needed, "allowed": one.allowed, "margin": one.margin, "fits": one.fits}
            for one in limit_checks(budget, cost)
        ],
        "edits": [
            {
                "description": edit.description,
                "net": edit.net,
                "kind": edit.kind,
                "saves": edit.saves,
                "params": edit.params,
                "is_enough": edit.is_enough,
            }
            for edit in edits
        ],
    }


def _line_as_dict(line: Line) -> dict[str, Any]:
    row = line.row
    return {
        "name": row.name,
        "path": row.path,
        "kind": row.kind,
        "layer": row.layer,
        "in_shape": list(row.in_shape),
        "out_shape": list(row.out_shape),
        "params": row.params,
        "share": line.share,
        "buffers": row.buffers,
        "macs": row.macs,
        "receptive_field": [_known(value) for value in row.receptive_field],
        "effective_stride": [_known(value) for value in row.effective_stride],
        "activation_bytes": row.activations * FLOAT32_BYTES,
        "is_shared": row.is_shared,
        "is_executed": row.is_executed,
        "frozen": row.frozen,
        "tied_to": row.tied_to,
    }


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def cost_csv(cost: Cost, budget: Budget = NO_BUDGET) -> str:
    """One record per layer, after a header; no totals."""
    records = [_line_as_dict(line) for line in lines(cost, budget)]
    return as_csv(table_of([{key: _csv_cell(value) for key, value in record.items()} for record in records]))


def _csv_cell(value: Any) -> Any:
    match value:
        case bool():
            return int(value)
        case list():
            return "x".join("" if one is None else str(one).removesuffix(".0") for one in value)
        case _:
            return value


def cost_text(cost: Cost, budget: Budget = NO_BUDGET, edits: Sequence[Edit] = (), *, width: int = WIDTH) -> str:
    """The table as ASCII text of at most `width` columns; what has no room is left out or cut.

    >>> from flyweight.model.count import count
    >>> print(cost_text(count("c8 r m2 flat fc10"), Budget(params=10_000)))
    c8 r m2 flat fc10
    input 1x28x28
    <BLANKLINE>
    layer          output  params   share    MACs  field  stride   memory
    ---------------------------------------------------------------------
    conv1    c8   8x26x26      80    0.8%  48,672      3       1  24.8 kB
    relu1    r    8x26x26       0    0.0%       0      3       1  21.6 kB
    maxpool1 m2   8x13x13       0    0.0%       0      4       2  27.0 kB
    flatten1 flat    1352       0    0.0%       0      4       2   5.4 kB
    linear1  fc10      10  13,530  135.3%  13,520     28      26   5.4 kB
    ---------------------------------------------------------------------
    total              10  13,610  136.1%  62,192     28      26  27.0 kB
    <BLANKLINE>
    columns     share of the budget; field: receptive field, pixels; memory: float32
    registered  13,610 parameters, all executed
    weights     54,440 bytes as float32, 13,610 as int8
    int8 in C   14,388 bytes of flash, 1,352 of RAM on a Cortex-M4 (computed)
    budget      13,610 of 10,000 parameters, over by 3,610
    """
    header, *body, total = as_text(_table(cost, budget), width=width, ellipsis="..").splitlines()
    rule = "-" * max(map(len, (header, *body, total)))
    parts = [
        *_wrap(cost.net, width=width),
        f"input {shape_text(cost.input_shape)}",
        "",
        header,
        rule,
        *body,
        rule,
        total,
        "",
        *_totals(cost, budget, width),
    ]
    if edits:
        parts += ["", "changes that help, each alone:", *_edit_lines(edits, width)]
    return "\n".join(parts)


# If 80 columns are too few, stride and share are left out, and the notation and then the name are cut.
COLUMNS: Final = (
    Column(header="layer", min_width=8, wanted=8, gap=1),
    Column(header="", min_width=6, wanted=6, gap=1),
    Column(header="output", is_number=True),
    Column(header="params", is_number=True),
    Column(header="share", is_number=True, is_optional=True),
    Column(header="MACs", is_number=True),
    Column(header="field", is_number=True),
    Column(header="stride", is_number=True, is_optional=True),
    Column(header="memory", is_number=True),
)


def _table(cost: Cost, budget: Budget) -> Table:
    rows = [*map(_text_cells, lines(cost, budget)), _total_cells(cost, budget)]
    return Table(columns=COLUMNS, rows=tuple(rows))


def _text_cells(line: Line) -> tuple[str, ...]:
    row = line.row
    cells = (row.name, row.layer, shape_text(row.out_shape))
    if not row.is_executed:
        return (*cells, _count(row.params), "unused", "-", "-", "-", "-")
    return (
        *cells,
        "shared" if row.is_shared and not row.params else _count(row.params),
        f"{line.share:.1%}",
        _count(row.macs),
        _pair(row.receptive_field),
        _pair(row.effective_stride),
        _bytes(row.activations * FLOAT32_BYTES),
    )


def _total_cells(cost: Cost, budget: Budget) -> tuple[str, ...]:
    executed = [row for row in cost.rows if row.is_executed]
    last = executed[-1] if executed else None
    share = sum(line.share for line in lines(cost, budget))
    return (
        "total",
        "",
        shape_text(cost.out_shape),
        _count(cost.params),
        f"{share:.1%}",
        _count(cost.macs),
        _pair(last.receptive_field) if last else "",
        _pair(last.effective_stride) if last else "",
        _bytes(cost.activation_bytes),
    )


def _totals(cost: Cost, budget: Budget, width: int) -> list[str]:
    unused = cost.registered_params - cost.params
    executed = "all executed" if not unused else f"{cost.params:,} executed, {unused:,} unused: {_unused_names(cost)}"
    executed += f", {cost.frozen_params:,} frozen" if cost.frozen_params else ""
    whole = "budget" if budget.params else "net"
    entries = [
        ("columns", f"share of the {whole}; field: receptive field, pixels; memory: float32"),
        ("registered", f"{cost.registered_params:,} parameters, {executed}"),
        ("weights", f"{cost.flash_bytes:,} bytes as float32, {cost.int8_bytes:,} as int8"),
        *_notes(cost),
        *([("int8 in C", _export_text(cost.int8_export))] if cost.int8_export else []),
        *(("budget", str(one)) for one in limit_checks(budget, cost)),
    ]
    if cost.buffers:
        entries[2] = ("weights", f"{entries[2][1]} (with {cost.buffers:,} buffers)")
    entries += [("budget", f"{kind} {limit:,}") for kind, limit in budget.limits().items() if kind not in needs(cost)]
    return [line for name, text in entries for line in _wrap(text, f"{name:12}", " " * 12, width=width)]


def _notes(cost: Cost) -> list[tuple[str, str]]:
    """What a reader of the columns must know besides: weights of two layers, MACs that are missing."""
    notes = [("tied", f"{row.name} uses weights of {row.tied_to}") for row in cost.rows if row.tied_to]
    if cost.uncounted:
        notes.append(("MACs", f"those of {', '.join(cost.uncounted)} are not counted"))
    return notes


def _export_text(export: Int8Cost) -> str:
    return f"{export.flash:,} bytes of flash, {export.ram:,} of RAM on a Cortex-M4 (computed)"


def _unused_names(cost: Cost) -> str:
    return ", ".join(row.name for row in cost.rows if not row.is_executed and row.params)


def _edit_lines(edits: Sequence[Edit], width: int) -> list[str]:
    found: list[str] = []
    for edit in edits:
        found += _wrap(f"{edit}, leaves {needs(edit.cost)[edit.kind]:,}", "  ", "    ", width=width)
        found += _wrap(edit.net, "    ", "    ", width=width)
    return found


def _wrap(text: str, first: str = "", later: str = "", *, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
    # textwrap leaves a trailing space before a word that is longer than a line.
    return [line.rstrip() for line in wrapped]


def cost_markdown(cost: Cost, budget: Budget = NO_BUDGET, edits: Sequence[Edit] = ()) -> str:
    """The table, the totals and the edits as Markdown."""
    parts = [f"{_code(cost.net)} on {shape_text(cost.input_shape)}", "", as_markdown(_table(cost, budget)), ""]
    parts += [f"- {in_markdown(line)}" for line in _markdown_totals(cost, budget)]
    if edits:
        parts += ["", as_markdown(table_of([_edit_row(edit) for edit in edits]))]
    return "\n".join(parts)


def _edit_row(edit: Edit) -> dict[str, str]:
    return {
        "change": edit.description,
        "saves": f"{edit.saves:,} {KINDS[edit.kind].noun}",
        "leaves": f"{needs(edit.cost)[edit.kind]:,}",
        "enough": "yes" if edit.is_enough else "no",
        "net": _code(edit.net),
    }


def _markdown_totals(cost: Cost, budget: Budget) -> list[str]:
    unused = cost.registered_params - cost.params
    return [
        f"{cost.params:,} parameters executed, {cost.registered_params:,} registered"
        + (f" ({unused:,} unused: {_unused_names(cost)})" if unused else "")
        + (f", {cost.frozen_params:,} frozen" if cost.frozen_params else ""),
        f"{cost.flash_bytes:,} bytes as float32, {cost.int8_bytes:,} as int8",
        *([f"int8 in C: {_export_text(cost.int8_export)}"] if cost.int8_export else []),
        *(f"{subject}: {note}" for subject, note in _notes(cost)),
        *(str(one) for one in limit_checks(budget, cost)),
    ]


def _code(text: str) -> Markdown:
    """In backticks; a net has none."""
    return Markdown("`" + text.replace("`", "'") + "`")


def _pair(values: tuple[float, float]) -> str:
    """Pixels: one number if height and width are equal; '-' if unknown."""
    if not all(isfinite(value) for value in values):
        return "-"
    texts = [f"{value:.4g}" if value != int(value) else str(int(value)) for value in values]
    return texts[0] if texts[0] == texts[1] else "x".join(texts)


def _count(value: int) -> str:
    """Exact up to 99,999,999; then in millions, billions and so on."""
    if value < 10**8:
        return f"{value:,}"
    for size, letter in ((10**6, "M"), (10**9, "G"), (10**12, "T"), (10**15, "P")):
        if value < size * 10**5:
            return f"{value / size:,.1f}{letter}"
    return f"{value:.2e}"


def _bytes(value: int) -> str:
    for size, unit in ((1, "B"), (10**3, "kB"), (10**6, "MB"), (10**9, "GB")):
        if value < size * 10**3 or unit == "GB":
            return f"{value} B" if size == 1 else f"{value / size:.1f} {unit}"
    raise AssertionError("unreachable: the last unit has no limit")
