"""The cost of a net, per layer and in total: parameters, MACs, memory. `count.py` creates these values.

Conventions (docs/counting.md):
- parameters are the trainable values that forward uses; registered but unused ones are counted separately;
- buffers (the running mean and variance of batch norm) are not parameters;
- MACs are multiplications by weights for one image; bias, batch norm and pooling are not counted;
- activation memory is for one image: what a layer reads and writes, plus what a residual keeps;
  activations, batch norm, dropout and flatten work in place.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property

from flyweight.errors import UsageError
from flyweight.model.arithmetic import Shape
from flyweight.model.int8_cost import Int8Cost, int8_cost
from flyweight.model.lowered import lower
from flyweight.model.spec import RowKind

FLOAT32_BYTES, INT8_BYTES = 4, 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table: a layer, once per pass if weights are shared.

    receptive_field, effective_stride: (height, width) in pixels of the image, not clipped to its size. activations:
    values in memory while the layer runs, for one image. frozen: how many of its parameters are not trained
    (`requires_grad` is off). tied_to: the layer whose parameters it uses too, and where they are counted.
    """

    name: str
    path: str
    kind: RowKind
    layer: str
    in_shape: Shape
    out_shape: Shape
    params: int
    buffers: int
    macs: int
    receptive_field: tuple[float, float]
    effective_stride: tuple[float, float]
    activations: int
    is_shared: bool = False
    is_executed: bool = True
    frozen: int = 0
    tied_to: str = ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The table and its totals. uncounted: operations with weights whose MACs are not in the rows."""

    net: str
    input_shape: Shape
    rows: tuple[Row, ...]
    uncounted: tuple[str, ...] = ()

    @property
    def params(self) -> int:
        """Trainable values that forward uses."""
        return sum(row.params for row in self.rows if row.is_executed)

    @property
    def frozen_params(self) -> int:
        """Values that forward uses and training leaves as they are; they are part of `params`."""
        return sum(row.frozen for row in self.rows if row.is_executed)

    @property
    def registered_params(self) -> int:
        """All trainable values of the net, used or not."""
        return sum(row.params for row in self.rows)

    @property
    def buffers(self) -> int:
        return sum(row.buffers for row in self.rows if row.is_executed)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows if row.is_executed)

    @property
    def activations(self) -> int:
        """The maximum number of values in memory, for one image."""
        return max((row.activations for row in self.rows if row.is_executed), default=0)

    @property
    def activation_bytes(self) -> int:
        """Peak activation memory for one image in float32."""
        return self.activations * FLOAT32_BYTES

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each layer, and the totals."""
        heads = "".join(f"<th>{name}</th>" for name in ("name", "layer", "in", "out", "parameters", "MACs"))
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(str(cell))}</td>"
                for cell in (
                    row.name,
                    row.layer,
                    "x".join(map(str, row.in_shape)),
                    "x".join(map(str, row.out_shape)),
                    f"{row.params:,}",
                    f"{row.macs:,}",
                )
            )
            + "</tr>"
            for row in self.rows
        )
        totals = f"{self.params:,} parameters, {self.macs:,} MACs, {self.activation_bytes:,} bytes of activations"
        return (
            f"<p><code>{html.escape(self.net)}</code></p><table><thead><tr>{heads}</tr></thead>"
            f"<tbody>{rows}</tbody></table><p>{totals}</p>"
        )

    @property
    def flash_bytes(self) -> int:
        """Storage in float32: parameters and the running statistics of batch norm."""
        return (self.params + self.buffers) * FLOAT32_BYTES

    @property
    def int8_bytes(self) -> int:
        """Storage with one byte per value."""
        return (self.params + self.buffers) * INT8_BYTES

    @cached_property
    def int8_export(self) -> Int8Cost | None:
        """What the C export needs on a microcontroller; None for a net that the exports cannot do."""
        if len(self.input_shape) != 3:
            return None
        channels, height, width = self.input_shape
        try:
            return int8_cost(lower(self.net, (channels, height, width)))
        except UsageError:
            return None

    @property
    def out_shape(self) -> Shape:
        executed = [row for row in self.rows if row.is_executed]
        return executed[-1].out_shape if executed else self.input_shape
