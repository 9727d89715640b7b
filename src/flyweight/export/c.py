"""The integer net as C99: `c_files(file, card)` gives the texts of a source, a header, a Makefile and a main.

No memory is allocated, no library is called, and no number is floating point. Only the functions and the fields that
the net needs are written, so that the code beside the weights stays below a kilobyte.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.export.format import IntegerFile
from flyweight.export.integer import IntegerOperation, scores
from flyweight.model.lowered import Operation

N_SELF_TESTS: Final = 20
WIDTH: Final = 110


def identifier(name: str) -> str:
    """A name as the beginning of C names.

    >>> identifier("own/20k-fast"), identifier("7 zwölf")
    ('own_20k_fast', 'net_7_zw_lf')
    """
    found = re.sub("[^a-z0-9_]+", "_", name.lower()).strip("_") or "net"
    return found if found[0].isalpha() and len(found) < 40 else f"net_{found[:36]}".rstrip("_")


def c_files(file: IntegerFile, *, card: str, images: NDArray[np.uint8]) -> dict[str, str]:
    """The files by name. card: the model card as text. images: (N, C, H, W) uint8 for the self-test."""
    name = identifier(file.name)
    return {
        f"{name}.h": header(file, card=card),
        f"{name}.c": source(file, card=card),
        "main.c": main_source(file, images[:N_SELF_TESTS]),
        "Makefile": makefile(name),
    }


def header(file: IntegerFile, *, card: str) -> str:
    name, lowered = identifier(file.name), file.net.lowered
    channels, height, width = lowered.input_shape
    upper = name.upper()
    return f"""{_comment(card)}
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_HEIGHT {height}
#define {upper}_WIDTH {width}
#define {upper}_CHANNELS {channels}
#define {upper}_CLASSES {lowered.n_classes}
#define {upper}_CLASS_NAMES {{{", ".join(map(quoted, file.class_names))}}}
/* A logit is a score times this. */
#define {upper}_SCORE_SCALE {file.net.score_scale!r}

#ifdef __cplusplus
extern "C" {{
#endif

/* pixels: height x width x channels, 0 to 255, channels last. scores: one for each class, the largest is the answer.
   Returns the number of that class. Not for two threads at once: the maps are in one static memory. */
int {name}_classify(const uint8_t *pixels, int32_t *scores);

#ifdef __cplusplus
}}
#endif

#endif
"""


def source(file: IntegerFile, *, card: str) -> str:
    """The source file; equal nets give equal texts."""
    return _Source(file).text(card)


@dataclass(frozen=True)
class _Field:
    """A member of the description of a convolution; left out where all layers have the default."""

    name: str
    kind: str
    value: Callable[[IntegerOperation], int]
    default: int | None = None


def _is_row(operation: Operation) -> bool:
    """Whether a row of the window is one stretch of memory that never leaves the map."""
    return operation.groups == 1 and operation.dilation == 1 and operation.padding == 0


FIELDS: Final = (
    _Field("width", "uint16_t", lambda one: one.operation.in_shape[1]),
    _Field("inputs", "uint16_t", lambda one: one.operation.in_shape[2]),
    _Field("rows", "uint16_t", lambda one: one.operation.out_shape[0]),
    _Field("columns", "uint16_t", lambda one: one.operation.out_shape[1]),
    _Field("outputs", "uint16_t", lambda one: one.operation.out_shape[2]),
    # Of a window: its rows, the stretches of memory in each, and their bytes.
    _Field("kernel", "uint16_t", lambda one: one.operation.kernel[0]),
    _Field("taps", "uint16_t", lambda one: 1 if _is_row(one.operation) else one.operation.kernel[1], 1),
    _Field(
        "run",
        "uint16_t",
        lambda one: (
            one.operation.in_shape[2] * one.operation.kernel[1]
            if _is_row(one.operation)
            else one.operation.in_shape[2] // one.operation.groups
        ),
    ),
    _Field("stride", "uint16_t", lambda one: one.operation.stride[0], 1),
    _Field("dilation", "uint16_t", lambda one: one.operation.dilation, 1),
    _Field("pool_rows", "uint16_t", lambda one: one.operation.pool[0], 1),
    _Field("pool_columns", "uint16_t", lambda one: one.operation.pool[1], 1),
    _Field("row_step", "uint16_t", lambda one: one.operation.pool_stride[0], 1),
    _Field("column_step", "uint16_t", lambda one: one.operation.pool_stride[1], 1),
    _Field("height", "uint16_t", lambda one: one.operation.in_shape[0] if one.operation.padding else 0, 0),
    _Field("padding", "uint16_t", lambda one: one.operation.padding, 0),
    _Field("per_group", "uint16_t", lambda one: one.operation.out_shape[2] // one.operation.groups),
    _Field("zero", "uint8_t", lambda one: 0 if one.operation.wide else one.zero, 0),
    _Field("late", "uint8_t", lambda one: int(one.operation.is_late), 0),
)


class _Source:
    """Writes the source of one net."""

    def __init__(self, file: IntegerFile) -> None:
        self.file, self.net, self.name = file, file.net, identifier(file.name)
        self.convs = [one for one in self.net.operations if one.operation.kind == "conv"]
        self.kinds = {one.operation.kind for one in self.net.operations}
        self.has_table = any(one.table.size for one in self.convs)
        self.has_pads = any(one.operation.padding and one.pads.any() for one in self.convs)
        self.has_groups = any(one.operation.groups > 1 for one in self.convs)
        self.has_padding = any(one.operation.padding for one in self.convs)
        self.has_scores = any(one.operation.wide for one in self.net.operations)
        self.arrays: dict[tuple[str, str], str] = {}
        self.lines: list[str] = []

    def text(self, card: str) -> str:
        calls = [self._call(number, one) for number, one in enumerate(self.net.operations, start=1)]
        used = self._used_fields()
        descriptions = self._descriptions(used)  # it adds to the arrays
        parts = [
            _comment(card),
            f'#include "{self.name}.h"\n',
            *self._arithmetic(),
            *([self._conv_types(used), self._conv_function(used)] if self.convs else []),
            *self._other_functions(),
            "\n".join(self.lines),
            descriptions,
            self._classify(calls),
        ]
        return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)

    def array(self, kind: str, name: str, values: Iterable[int]) -> str:
        """The name of a constant array; equal arrays are written once."""
        found = [int(value) for value in values]
        key = (kind, repr(found))
        if key not in self.arrays:
            self.arrays[key] = name
            body = textwrap.fill(", ".join(map(str, found)), WIDTH, initial_indent="    ", subsequent_indent="    ")
            self.lines.append(f"static const {kind} {name}[{len(found)}] = {{\n{body}\n}};")
        return self.arrays[key]

    def _used_fields(self) -> list[_Field]:
        found = []
        for one in FIELDS:
            if one.name == "per_group":
                if self.has_groups:
                    found.append(one)
            elif one.default is None or any(one.value(conv) != one.default for conv in self.convs):
                found.append(one)
        return found

    def _kind(self, field: _Field) -> str:
        """The type of a member; more bits where a layer needs them."""
        return "uint32_t" if max(field.value(one) for one in self.convs) > 65535 else field.kind

    def _arithmetic(self) -> list[str]:
        kinds = self.kinds - {"max", "table"}
        rounds = [one for one in self.net.operations if one.operation.kind in kinds and not one.operation.wide]
        found = []
        if rounds:
            found.append(
                "/* floor((sum * multiplier + zero * 2^shift + 2^(shift - 1)) / 2^shift), cut to 0 to 255. */\n"
                "static uint8_t to_8_bits(int32_t sum, int32_t multiplier, uint32_t shift, uint32_t zero)\n"
                "{\n"
                "    int64_t value = (int64_t)sum * multiplier + (((int64_t)(2u * zero + 1u) << shift) >> 1);\n"
                "    if (value < 0)\n"
                "        return 0;\n"
                "    value >>= shift;\n"
                "    return (uint8_t)(value > 255 ? 255 : value);\n"
                "}\n"
            )
        if self.has_scores:
            found.append(
                "/* The same without a zero and a cut; a shift of what is below 0 would not be portable. */\n"
                "static int32_t to_score(int32_t sum, int32_t multiplier, uint32_t shift)\n"
                "{\n"
                "    int64_t value = (int64_t)sum * multiplier + ((int64_t)1 << (shift - 1));\n"
                "    return (int32_t)(value < 0 ? ~(~value >> shift) : value >> shift);\n"
                "}\n"
            )
        if self.convs:
            smlad = f"{self.name.upper()}_SMLAD"
            found.append(
                f"/* Define {smlad} on a Cortex-M4, M7 or M33: more code, half of the instructions. */\n"
                f"#if defined({smlad}) && defined(__ARM_FEATURE_SIMD32)\n"
                "#include <arm_acle.h>\n"
                "#include <string.h>\n"
                "/* Bytes 1 and 3 of a word as two numbers of 16 bits, in one instruction. */\n"
                "static inline uint32_t odd_unsigned(uint32_t a)\n"
                "{\n"
                '    __asm__("uxtb16 %0, %1, ror #8" : "=r"(a) : "r"(a));\n'
                "    return a;\n"
                "}\n"
                "static inline int32_t odd_signed(uint32_t a)\n"
                "{\n"
                '    __asm__("sxtb16 %0, %1, ror #8" : "=r"(a) : "r"(a));\n'
                "    return (int32_t)a;\n"
                "}\n"
                "static inline int32_t dot(const uint8_t *x, const int8_t *w, uint32_t n, int32_t sum)\n"
                "{\n"
                "    const int8_t *const words = w + (n & ~3u), *const end = w + n;\n"
                "    while (w != words) {\n"
                "        uint32_t a, b;\n"
                "        memcpy(&a, x, 4);\n"
                "        memcpy(&b, w, 4);\n"
                "        x += 4;\n"
                "        w += 4;\n"
                "        sum = __smlad((int16x2_t)__uxtb16(a), __sxtb16(b), sum);\n"
                "        sum = __smlad((int16x2_t)odd_unsigned(a), odd_signed(b), sum);\n"
                "    }\n"
                "    while (w != end)\n"
                "        sum += *x++ * *w++;\n"
                "    return sum;\n"
                "}\n"
                "#else\n"
                "static inline int32_t dot(const uint8_t *x, const int8_t *w, uint32_t n, int32_t sum)\n"
                "{\n"
                "    while (n--)\n"
                "        sum += *x++ * *w++;\n"
                "    return sum;\n"
                "}\n"
                "#endif\n"
            )
        return found

    def _conv_types(self, used: Sequence[_Field]) -> str:
        members = ["const int8_t *weights;", "const int32_t *bias;", "const int16_t *multipliers;"]
        members.append("const uint8_t *shifts;")
        members += ["const uint8_t *pads;"] * self.has_pads + ["const uint8_t *table;"] * self.has_table
        members += [f"{self._kind(one)} {one.name};" for one in used]
        body = "\n".join(f"    {one}" for one in members)
        comment = "/* A convolution, or a linear layer, with the pool and the activation behind it. */"
        return f"{comment}\ntypedef struct {{\n{body}\n}} conv_t;\n"

    def _conv_function(self, used: Sequence[_Field]) -> str:
        names = {one.name for one in used}

        def get(name: str) -> str:
            default = next(one.default for one in FIELDS if one.name == name)
            return f"l->{name}" if name in names else str(default)

        def times(value: str, name: str) -> str:
            return f"{value} * {get(name)}" if name in names else value

        has_taps, has_late = "taps" in names, "late" in names
        is_pooled = bool(names & {"pool_rows", "pool_columns"})
        narrow = any(not one.operation.wide for one in self.convs)
        wide = any(one.operation.wide for one in self.convs)
        lines = [
            "static void conv(const conv_t *l, const uint8_t *in, uint8_t *out" + ", int32_t *scores" * wide + ")",
            "{",
            "    int32_t row, column, o, py, px, ky" + ", kx" * has_taps + ";",
            "    for (row = 0; row < l->rows; row++)",
            "    for (column = 0; column < l->columns; column++)",
            "    for (o = 0; o < l->outputs; o++) {",
            "        int32_t best = INT32_MIN;" if is_pooled else "        int32_t best;",
        ]
        if self.has_groups:
            lines.append("        const int32_t first = o / l->per_group * l->run;")
        indent = "        "
        if is_pooled:
            lines.append(f"        for (py = 0; py < {get('pool_rows')}; py++)")
            lines.append(f"        for (px = 0; px < {get('pool_columns')}; px++) {{")
            indent = "            "
        else:
            lines[2] = lines[2].replace(", py, px", "")
        top = times("row", "row_step") + (" + py" if is_pooled else "")
        left = times("column", "column_step") + (" + px" if is_pooled else "")
        if "row_step" in names or is_pooled:
            top, left = f"({top})", f"({left})"
        padding = " - l->padding" if self.has_padding else ""
        lines += [
            f"{indent}const int8_t *w = l->weights + o * l->kernel * {get('taps')} * l->run;",
            f"{indent}const int32_t top = {times(top, 'stride')}{padding}, left = {times(left, 'stride')}{padding};",
            f"{indent}int32_t sum = l->bias[o];",
        ]
        offset = " + first" if self.has_groups else ""
        y = "top + " + ("ky * l->dilation" if "dilation" in names else "ky")
        lines.append(f"{indent}for (ky = 0; ky < l->kernel; ky++){' {' if has_taps is False else ''}")
        if not has_taps:
            lines += [
                f"{indent}    sum = dot(in + (({y}) * l->width + left) * l->inputs{offset}, w, l->run, sum);",
                f"{indent}    w += l->run;",
                f"{indent}}}",
            ]
        else:
            x = "left + " + ("kx * l->dilation" if "dilation" in names else "kx")
            lines.append(f"{indent}for (kx = 0; kx < l->taps; kx++, w += l->run) {{")
            place = f"in + (y * l->width + x) * l->inputs{offset}"
            lines.append(f"{indent}    const int32_t y = {y}, x = {x};")
            if self.has_padding:
                outside = "y < 0 || y >= l->height || x < 0 || x >= l->width"
                lines.append(f"{indent}    if (l->padding && ({outside})) {{")
                if self.has_pads:
                    lines.append(f"{indent}        if (l->pads)")
                    lines.append(f"{indent}            sum = dot(l->pads{offset}, w, l->run, sum);")
                lines.append(f"{indent}    }} else")
                lines.append(f"{indent}        sum = dot({place}, w, l->run, sum);")
            else:
                lines.append(f"{indent}    sum = dot({place}, w, l->run, sum);")
            lines.append(f"{indent}}}")
        finish = f"to_8_bits(%s, l->multipliers[o], l->shifts[o], {get('zero')})"
        if has_late:
            lines += [
                f"{indent}if (l->late) {{",
                f"{indent}    sum = {finish % 'sum'};",
                *([f"{indent}    if (l->table)", f"{indent}        sum = l->table[sum];"] if self.has_table else []),
                f"{indent}}}",
            ]
        lines.append(f"{indent}if (sum > best)\n{indent}    best = sum;" if is_pooled else f"{indent}best = sum;")
        if is_pooled:
            lines.append("        }")
        if has_late:
            lines += [
                "        if (l->late) {",
                "            *out++ = (uint8_t)best;",
                "            continue;",
                "        }",
            ]
        if wide and narrow:
            lines += [
                "        if (scores) {",
                "            scores[o] = to_score(best, l->multipliers[o], l->shifts[o]);",
                "            continue;",
                "        }",
            ]
        elif wide:
            lines.append("        scores[o] = to_score(best, l->multipliers[o], l->shifts[o]);")
        if narrow:
            lines.append(f"        best = {finish % 'best'};")
            lines.append(
                "        *out++ = l->table ? l->table[best] : (uint8_t)best;"
                if self.has_table
                else "        *out++ = (uint8_t)best;"
            )
        lines += ["    }", *(["    (void)out;"] if not narrow else []), "}"]
        return "\n".join(lines) + "\n"

    def _other_functions(self) -> list[str]:
        found = []
        if "add" in self.kinds:
            found.append(_ADD)
        if self.kinds & {"average", "max"}:
            found.append(_POOL_TYPE)
        if "average" in self.kinds:
            averages = [one for one in self.net.operations if one.operation.kind == "average"]
            wide = any(one.operation.wide for one in averages)
            narrow = any(not one.operation.wide for one in averages)
            found.append(_average_function(wide=wide, narrow=narrow))
        if "max" in self.kinds:
            found.append(_MAX)
        if "slopes" in self.kinds:
            found.append(_SLOPES)
        looked_up = any(one.table.size for one in self.net.operations if one.operation.kind != "conv")
        if looked_up:
            found.append(_TABLE)
        return found

    def _descriptions(self, used: Sequence[_Field]) -> str:
        rows = []
        for number, one in enumerate(self.convs):
            operation = one.operation
            key = f"{number}"
            cells = [
                self.array("int8_t", f"weights{key}", one.weights.ravel()),
                self.array("int32_t", f"bias{key}", one.bias),
                self.array("int16_t", f"multipliers{key}", one.multipliers),
                self.array("uint8_t", f"shifts{key}", one.shifts),
            ]
            if self.has_pads:
                needs = operation.padding and one.pads.any()
                cells.append(self.array("uint8_t", f"pads{key}", one.pads) if needs else "0")
            if self.has_table:
                cells.append(self.array("uint8_t", f"table{key}", one.table) if one.table.size else "0")
            cells += [str(field.value(one)) for field in used]
            rows.append(f"    /* {_plain(', '.join(operation.layers))} */\n    {{{', '.join(cells)}}}")
        if not rows:
            return ""
        return f"static const conv_t convs[{len(rows)}] = {{\n" + ",\n".join(rows) + "\n};\n"

    def _call(self, number: int, one: IntegerOperation) -> str:
        operation, offsets = one.operation, self.net.lowered.offsets
        ins = [self._place(value) for value in operation.inputs]
        out = "0" if offsets[number] is None else self._place(number)
        height, width, channels = operation.out_shape
        size = height * width * channels
        lookup = ""
        if one.table.size and operation.kind != "conv":
            table = self.array("uint8_t", f"lookup{number}", one.table)
            source = ins[0] if operation.kind == "table" else out
            lookup = f"look_up({table}, {source}, {out}, {size});"
        match operation.kind:
            case "conv":
                index = self.convs.index(one)
                has_scores = any(conv.operation.wide for conv in self.convs)
                scores = ", scores" if operation.wide else ", 0"
                return f"conv(&convs[{index}], {ins[0]}, {out}{scores * has_scores});"
            case "add":
                a, b = one.multipliers
                rest = ", ".join(map(str, (size, *one.zeros, a, b, one.shifts[0], one.zero)))
                call = f"add({ins[0]}, {ins[1]}, {out}, {rest});"
            case "average" | "max":
                call = self._pool_call(number, one, ins[0], out)
            case "slopes":
                multipliers = self.array("int16_t", f"slopes{number}", one.multipliers)
                rest = ", ".join(map(str, (size, channels, one.zeros[0], one.shifts[0], one.zero)))
                call = f"slopes({multipliers}, {ins[0]}, {out}, {rest});"
            case _:
                return lookup
        return f"{call}\n    {lookup}" if lookup else call

    def _pool_call(self, number: int, one: IntegerOperation, source: str, out: str) -> str:
        operation = one.operation
        rows = self.array("uint16_t", f"rows{number}", [side for window in one.rows for side in window])
        columns = self.array("uint16_t", f"columns{number}", [side for window in one.columns for side in window])
        rest = ", ".join(map(str, (len(one.rows), len(one.columns), *operation.in_shape[1:])))
        self.lines.append(f"static const pool_t pool{number} = {{{rows}, {columns}, {rest}}};")
        if operation.kind == "max":
            return f"max_pool(&pool{number}, {source}, {out});"
        multipliers = self.array("int16_t", f"gains{number}", one.multipliers)
        shifts = self.array("uint8_t", f"gain_shifts{number}", one.shifts)
        which = self.array("uint8_t", f"which{number}", one.which.ravel()) if len(one.multipliers) > 1 else "0"
        averages = [other for other in self.net.operations if other.operation.kind == "average"]
        has_scores = any(other.operation.wide for other in averages)
        scores = (", scores" if operation.wide else ", 0") * has_scores
        return (
            f"average_pool(&pool{number}, {source}, {out}{scores}, {multipliers}, {shifts}, {which}, "
            f"{one.zeros[0]}, {one.zero});"
        )

    def _place(self, value: int) -> str:
        offset = self.net.lowered.offsets[value]
        return "pixels" if not value else f"memory + {offset}"

    def _classify(self, calls: Sequence[str]) -> str:
        n = self.net.lowered.n_classes
        memory = self.net.lowered.memory
        last = self.net.operations[-1]
        body = [f"    {call}" for call in calls]
        if not last.operation.wide:
            place = self._place(len(calls))
            zero = f" - {self.net.last_zero}" if self.net.last_zero else ""
            body.append(f"    for (i = 0; i < {n}; i++)\n        scores[i] = ({place})[i]{zero};")
        static = f"    static uint8_t memory[{memory}];\n" if memory else ""
        return (
            f"int {self.name}_classify(const uint8_t *pixels, int32_t *scores)\n{{\n{static}    int i, best = 0;\n"
            + "\n".join(body)
            + f"\n    for (i = 1; i < {n}; i++)\n        if (scores[i] > scores[best])\n            best = i;\n"
            + "    return best;\n}\n"
        )


_ADD: Final = """static void add(const uint8_t *a, const uint8_t *b, uint8_t *out, int32_t n,
                int32_t zero_a, int32_t zero_b, int32_t multiplier_a,
                int32_t multiplier_b, uint32_t shift, uint32_t zero)
{
    while (n--)
        *out++ = to_8_bits((*a++ - zero_a) * multiplier_a + (*b++ - zero_b) * multiplier_b, 1, shift, zero);
}
"""
_POOL_TYPE: Final = """/* first and last + 1 of each window; width and channels of the input */
typedef struct {
    const uint16_t *rows, *columns;
    uint16_t n_rows, n_columns, width, channels;
} pool_t;
"""
_MAX: Final = """static void max_pool(const pool_t *l, const uint8_t *in, uint8_t *out)
{
    int32_t row, column, c, y, x;
    for (row = 0; row < l->n_rows; row++)
    for (column = 0; column < l->n_columns; column++)
    for (c = 0; c < l->channels; c++) {
        uint8_t best = 0;
        for (y = l->rows[2 * row]; y < l->rows[2 * row + 1]; y++)
        for (x = l->columns[2 * column]; x < l->columns[2 * column + 1]; x++) {
            const uint8_t value = in[(y * l->width + x) * l->channels + c];
            if (value > best)
                best = value;
        }
        *out++ = best;
    }
}
"""
_SLOPES: Final = """static void slopes(const int16_t *multipliers, const uint8_t *in, uint8_t *out, int32_t n,
                   int32_t channels, int32_t zero_in, uint32_t shift, uint32_t zero)
{
    int32_t i;
    for (i = 0; i < n; i++) {
        const int32_t value = in[i] - zero_in;
        out[i] = to_8_bits(value, multipliers[value >= 0 ? 0 : 1 + i % channels], shift, zero);
    }
}
"""
_TABLE: Final = """static void look_up(const uint8_t *table, const uint8_t *in, uint8_t *out, int32_t n)
{
    while (n--)
        *out++ = table[*in++];
}
"""


def _average_function(*, wide: bool, narrow: bool) -> str:
    if wide and narrow:
        finish = """        if (scores)
            scores[c] = to_score(sum, multipliers[k], shifts[k]);
        else
            *out++ = to_8_bits(sum, multipliers[k], shifts[k], zero);"""
    elif wide:
        finish = (
            "        scores[c] = to_score(sum, multipliers[k], shifts[k]);\n        (void)out;\n        (void)zero;"
        )
    else:
        finish = "        *out++ = to_8_bits(sum, multipliers[k], shifts[k], zero);"
    return f"""static void average_pool(const pool_t *l, const uint8_t *in, uint8_t *out{", int32_t *scores" * wide},
                         const int16_t *multipliers, const uint8_t *shifts, const uint8_t *which,
                         int32_t zero_in, uint32_t zero)
{{
    int32_t row, column, c, y, x;
    for (row = 0; row < l->n_rows; row++)
    for (column = 0; column < l->n_columns; column++)
    for (c = 0; c < l->channels; c++) {{
        const int32_t k = which ? which[row * l->n_columns + column] : 0;
        int32_t sum = 0;
        for (y = l->rows[2 * row]; y < l->rows[2 * row + 1]; y++)
        for (x = l->columns[2 * column]; x < l->columns[2 * column + 1]; x++)
            sum += in[(y * l->width + x) * l->channels + c] - zero_in;
{finish}
    }}
}}
"""


def quoted(text: str) -> str:
    """A C string literal in ASCII, whatever the text."""
    found = []
    for byte in text.encode("utf-8"):
        plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
        found.append(chr(byte) if plain else f"\\{byte:03o}")
    return '"' + "".join(found) + '"'


def _plain(text: str) -> str:
    """Text that cannot end a comment, in ASCII."""
    return (
        text.encode("ascii", "backslashreplace").decode().replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
    )


def _comment(card: str) -> str:
    """The card as a comment; no line of it ends with a backslash."""
    lines = [f" * {_plain(line)}".rstrip().rstrip("\\") for line in card.splitlines()]
    return "/*\n" + "\n".join(lines) + "\n */"


def harness(file: IntegerFile) -> str:
    """A program for the gate: images on stdin, scores on stdout, in the byte order of the machine."""
    name = identifier(file.name)
    upper = name.upper()
    return f"""#include <stdio.h>
#include "{name}.h"

int main(void)
{{
    static uint8_t pixels[{upper}_HEIGHT * {upper}_WIDTH * {upper}_CHANNELS];
    static int32_t scores[{upper}_CLASSES];
    while (fread(pixels, sizeof pixels, 1, stdin) == 1) {{
        {name}_classify(pixels, scores);
        if (fwrite(scores, sizeof scores, 1, stdout) != 1)
            return 1;
    }}
    return 0;
}}
"""


def main_source(file: IntegerFile, images: NDArray[np.uint8]) -> str:
    """Reads an image (PGM, PPM or raw bytes), or tests itself on the images."""
    name = identifier(file.name)
    upper = name.upper()
    wanted = scores(file.net, images)
    rows = [_row(one) for one in images.transpose(0, 2, 3, 1).reshape(len(images), -1)]
    answers = [_row(one) for one in wanted]
    magic = "P5" if file.net.lowered.input_shape[0] == 1 else "P6"
    return f"""/* Usage: main IMAGE, a {magic} file of the size of the net or as many raw bytes; else a self-test. */
#include <stdio.h>
#include <string.h>
#include "{name}.h"

#define PIXELS ({upper}_HEIGHT * {upper}_WIDTH * {upper}_CHANNELS)
#define TESTS {len(images)}

static const char *const names[{upper}_CLASSES] = {upper}_CLASS_NAMES;
static const uint8_t images[TESTS][PIXELS] = {{
{_rows(rows)}
}};
static const int32_t wanted[TESTS][{upper}_CLASSES] = {{
{_rows(answers)}
}};

static int self_test(void)
{{
    int i, wrong = 0;
    for (i = 0; i < TESTS; i++) {{
        int32_t scores[{upper}_CLASSES];
        {name}_classify(images[i], scores);
        if (memcmp(scores, wanted[i], sizeof scores) != 0) {{
            printf("image %d: other scores than expected\\n", i);
            wrong++;
        }}
    }}
    printf("self-test: %d of %d images as expected\\n", TESTS - wrong, TESTS);
    return wrong != 0;
}}

static int read_pixels(const char *path, uint8_t *pixels)
{{
    FILE *file = fopen(path, "rb");
    int width, height, most, is_read = 0;
    char magic[3] = "";
    if (!file)
        return 0;
    if (fscanf(file, "%2s %d %d %d", magic, &width, &height, &most) == 4 && !strcmp(magic, "{magic}") && most == 255)
        is_read = width == {upper}_WIDTH && height == {upper}_HEIGHT && fgetc(file) != EOF;
    else
        is_read = fseek(file, 0, SEEK_END) == 0 && ftell(file) == PIXELS && fseek(file, 0, SEEK_SET) == 0;
    is_read = is_read && fread(pixels, 1, PIXELS, file) == PIXELS;
    fclose(file);
    return is_read;
}}

int main(int argc, char **argv)
{{
    static uint8_t pixels[PIXELS];
    int32_t scores[{upper}_CLASSES];
    int i, best;
    if (argc < 2)
        return self_test();
    if (!read_pixels(argv[1], pixels)) {{
        fprintf(stderr, "%s: must be a {magic} image of %d x %d pixels, or %d raw bytes\\n", argv[1], {upper}_WIDTH,
                {upper}_HEIGHT, PIXELS);
        return 1;
    }}
    best = {name}_classify(pixels, scores);
    printf("%s\\n", names[best]);
    for (i = 0; i < {upper}_CLASSES; i++)
        printf("  %s %ld\\n", names[i], (long)scores[i]);
    return 0;
}}
"""


def _row(values: NDArray[Any]) -> str:
    return "{" + ",".join(map(str, values.tolist())) + "}"


def _rows(rows: Sequence[str]) -> str:
    return ",\n".join(
        textwrap.fill(row, WIDTH, break_long_words=True) for row in (one.replace(",", ", ") for one in rows)
    )


def rows_of_numbers(values: Sequence[int]) -> str:
    """Numbers between commas in lines."""
    return textwrap.fill(", ".join(map(str, values)), WIDTH, initial_indent="  ", subsequent_indent="  ")


def makefile(name: str) -> str:
    return f"""CFLAGS = -std=c99 -O2 -Wall -Wextra -Werror -pedantic

main: main.c {name}.c {name}.h
\t$(CC) $(CFLAGS) -o $@ main.c {name}.c

.PHONY: test clean
test: main
\t./main

clean:
\trm -f main
"""
