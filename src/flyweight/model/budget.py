"""What a net may cost: `Budget`, its text, and by how much a cost exceeds it.

Goes in: limits and a `Cost`. Comes out: the overruns, and the message that refuses a net. `edits.py` knows what
could be changed about the net.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Final, Literal, NoReturn

from flyweight.errors import UsageError, in_one_line, nearest
from flyweight.model.cost import FLOAT32_BYTES, Cost, Row

Kind = Literal["params", "macs", "activation", "flash", "epochs", "seconds"]

# Counts go by thousands; kB is 1,000 bytes and KiB 1,024, as IEC 80000-13 has it.
_COUNTS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_BYTES: Final = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "kib": 2**10, "mib": 2**20}
_TIMES: Final = {"": 1, "s": 1, "min": 60, "h": 3600}
_AMOUNT: Final = re.compile(r"(?P<number>\d[\d_]*(?:,\d{3})*(?:\.\d+)?|\.\d+)\s*(?P<unit>[a-zA-Z]*)", re.ASCII)


@dataclass(frozen=True)
class _KindOfLimit:
    noun: str
    units: dict[str, int]
    example: str


KINDS: Final[dict[Kind, _KindOfLimit]] = {
    "params": _KindOfLimit("parameters", _COUNTS, "params=20k"),
    "macs": _KindOfLimit("MACs", _COUNTS, "macs=1.2M"),
    "activation": _KindOfLimit("bytes of activation memory", _BYTES, "activation=32kB"),
    "flash": _KindOfLimit("bytes of flash", _BYTES, "flash=80kB"),
    "epochs": _KindOfLimit("epochs", {"": 1}, "epochs=5"),
    "seconds": _KindOfLimit("seconds", _TIMES, "seconds=100"),
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits, all inclusive; None means no limit.

    activation and flash are bytes in float32, for one image. seconds is training time: it cannot be known before the
    training and is held by the training itself.
    """

    params: int | None = None
    macs: int | None = None
    activation: int | None = None
    flash: int | None = None
    epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for kind, limit in self.limits().items():
            if not limit > 0:
                raise UsageError(f"budget: {kind} must be above 0, found {limit}.")

    def limits(self) -> dict[Kind, int | float]:
        """The limits that are set, by kind.

        >>> Budget(params=20_000, epochs=5).limits()
        {'params': 20000, 'epochs': 5}
        """
        return {kind: value for kind in KINDS if (value := getattr(self, kind)) is not None}

    def with_limits(self, other: Budget) -> Budget:
        """This budget with the limits that `other` sets in place of its own.

        >>> str(Budget(params=20_000, epochs=5).with_limits(Budget(params=8_000)))
        'params=8000 epochs=5'
        """
        limits: dict[str, Any] = asdict(self)
        limits |= {str(kind): limit for kind, limit in other.limits().items()}
        return Budget(**limits)

    def __str__(self) -> str:
        return " ".join(f"{kind}={limit}" for kind, limit in self.limits().items())


@dataclass(frozen=True, kw_only=True)
class LimitCheck:
    """One limit beside what the net needs; `margin` is negative where it is over."""

    kind: Kind
    needed: int
    allowed: int

    @property
    def margin(self) -> int:
        return self.allowed - self.needed

    @property
    def fits(self) -> bool:
        return self.margin >= 0

    @property
    def refusal(self) -> str:
        noun = KINDS[self.kind].noun
        return f"needs {self.needed:,} {noun}, the budget is {self.allowed:,} ({-self.margin:,} over)"

    def __str__(self) -> str:
        side = "under" if self.fits else "over"
        return f"{self.needed:,} of {self.allowed:,} {KINDS[self.kind].noun}, {side} by {abs(self.margin):,}"


@in_one_line
def parse_budget(text: str | Iterable[str]) -> Budget:
    """The budget that one text, or several, one limit each, describe; a bare number limits parameters.

    >>> parse_budget("20k")
    Budget(params=20000, macs=None, activation=None, flash=None, epochs=None, seconds=None)
    >>> str(parse_budget(["params=20_000", "macs=1.2M", "activation=32kB", "seconds=100"]))
    'params=20000 macs=1200000 activation=32000 seconds=100'

    Raises:
        UsageError: an unknown kind or unit, an amount that is no number, a kind given twice.
    """
    limits: dict[str, int | float] = {}
    for part in [text] if isinstance(text, str) else text:
        kind, amount = _parse_limit(part)
        if kind in limits:
            raise UsageError(f"budget: {kind} is limited twice; give each kind once.")
        limits[kind] = amount
    return Budget(**limits)  # type: ignore[arg-type]  # the kinds are the fields, by the test of KINDS


def _parse_limit(text: str) -> tuple[Kind, int | float]:
    name, equals, amount = text.strip().partition("=")
    if not equals:
        name, amount = "params", name
    kind = _kind(name.strip().lower(), text)
    return kind, _amount(kind, amount.strip(), text)


def _kind(name: str, text: str) -> Kind:
    for kind in KINDS:
        if name == kind:
            return kind
    known = ", ".join(KINDS)
    raise UsageError(f"budget {text!r}: unknown budget kind {name!r}; known: {known}.{nearest(name, KINDS)}")


def _amount(kind: Kind, amount: str, text: str) -> int | float:
    match = _AMOUNT.fullmatch(amount)
    if not match:
        _refuse_amount(kind, text, "needs an amount")
    units = KINDS[kind].units
    unit = match["unit"].lower()
    if unit not in units:
        _refuse_amount(kind, text, f"cannot have the unit {match['unit']!r}")
    value = Decimal(re.sub("[_,]", "", match["number"])) * units[unit]
    if value == value.to_integral_value():
        return int(value)
    if kind != "seconds":
        _refuse_amount(kind, text, f"is {value.normalize():f}, which is not an integer")
    return float(value)


def _refuse_amount(kind: Kind, text: str, fault: str) -> NoReturn:
    # A misspelt kind without '=' lands here as an amount: a nearby kind is the better hint.
    hint = nearest(text, KINDS) if "=" not in text else ""
    units = [unit for unit in KINDS[kind].units if unit]
    may = f" Units are {', '.join(units)}." if units else ""
    raise UsageError(
        f"budget {text!r}: the limit on {KINDS[kind].noun} {fault}; write it like {KINDS[kind].example!r}.{may}{hint}"
    )


def limit_checks(budget: Budget, cost: Cost, *, epochs: int | None = None) -> tuple[LimitCheck, ...]:
    """Every limit that is known before training."""
    needed = needs(cost) | ({} if epochs is None else {"epochs": epochs})
    return tuple(
        LimitCheck(kind=kind, needed=needed[kind], allowed=int(limit))
        for kind, limit in budget.limits().items()
        if kind in needed
    )


def overruns(budget: Budget, cost: Cost, *, epochs: int | None = None) -> tuple[LimitCheck, ...]:
    """Every limit that `cost`, trained for `epochs`, exceeds; a net that needs exactly its limit passes."""
    return tuple(one for one in limit_checks(budget, cost, epochs=epochs) if not one.fits)


def needs(cost: Cost) -> dict[Kind, int]:
    """What a net needs of each kind that is known before it is trained."""
    return {
        "params": cost.params,
        "macs": cost.macs,
        "activation": cost.activation_bytes,
        "flash": cost.flash_bytes,
    }


def row_needs(row: Row, kind: Kind) -> int:
    """What one layer contributes to `kind`; for activation memory, what is alive while it runs."""
    match kind:
        case "params":
            return row.params
        case "macs":
            return row.macs
        case "activation":
            return row.activations * FLOAT32_BYTES
        case "flash":
            return (row.params + row.buffers) * FLOAT32_BYTES
        case _:
            return 0


def refusal(name: str, cost: Cost, found: Sequence[LimitCheck], *, suggestions: Sequence[object] = ()) -> str:
    """Why `name` is refused: what it needs, what is allowed, its heaviest layers, and what to change.

    >>> from flyweight.model.count import count
    >>> cost = count("c8 r m2 flat fc10")
    >>> print(refusal("tiny", cost, overruns(Budget(params=10_000), cost)))
    tiny needs 13,610 parameters, the budget is 10,000 (3,610 over).
      Heaviest: linear1 13,530, conv1 80.
    """
    lines = [f"{name} {overrun.refusal}." for overrun in found]
    for kind in dict.fromkeys(overrun.kind for overrun in found if overrun.kind in needs(cost)):
        label = "Heaviest" if kind == "params" else f"Heaviest in {KINDS[kind].noun}"
        lines.append(f"  {label}: {', '.join(_heaviest(cost, kind))}.")
    lines += [f"  Try: {suggestion}" for suggestion in suggestions]
    return "\n".join(lines)


def _heaviest(cost: Cost, kind: Kind, n: int = 3) -> list[str]:
    weighty = [row for row in cost.rows if row.is_executed and row_needs(row, kind)]
    weighty.sort(key=lambda row: -row_needs(row, kind))
    return [f"{row.name} {row_needs(row, kind):,}" for row in weighty[:n]]


assert set(KINDS) == {field.name for field in fields(Budget)}
