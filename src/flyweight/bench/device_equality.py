"""`bench device`: whether the first step of stacked nets is that of the same nets alone."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flyweight.bench.device_task import FAST, MEGA, Measurement, batches_of, read_task
from flyweight.bench.rows import Row, row
from flyweight.bench.task import SHAPE
from flyweight.data.batches import Batch
from flyweight.data.stacked_batches import side_by_side
from flyweight.errors import NotationError
from flyweight.kernels import stacked
from flyweight.kernels.dropout import call_seeds
from flyweight.model.build import build
from flyweight.model.layout import infer_shapes
from flyweight.model.notation import parse_net
from flyweight.model.stacked import Stack, rows_of
from flyweight.train.device import Precision, to_device, working_precision
from flyweight.train.step import forward

SECTION: Final = "device equality"
MEMBERS: Final = 3
# Stacked and alone agree in float32 (TF32 off) if loss and gradient differ by no more than these shares.
SAME_LOSS, SAME_GRADIENT = 1e-5, 1e-4
# For the drawn nets of one row: new shapes can mean new kernels, which are compiled.
EQUALITY_SECONDS: Final = 8.0


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of a member of a stack from the same net alone, relative."""

    loss: float
    gradient: float

    @property
    def agrees(self) -> bool:
        return self.loss <= SAME_LOSS and self.gradient <= SAME_GRADIENT


def equality(found: Measurement) -> Iterator[Row]:
    """How far the first step of members differs from that of the same nets alone, computed by torch in full float32."""
    draw, device, task = random.Random(0), found.device, read_task(FAST, found.size)  # noqa: S311  # not for secrets
    nets = {FAST: [task.net], "drawn nets": [drawn_net(draw) for _ in range(found.size.nets)]}
    batches = [one(1, 0) for one in batches_of(task, found.pixels, range(MEMBERS))[0]]
    yield from _rows("torch", nets, found, batches, kernels=False, precision="float32")
    only, has_kernels = {FAST: nets[FAST]}, not stacked.why_unusable(device)
    if has_kernels:
        yield from _rows("kernels", only, found, batches, kernels=True, precision="float32")
    if working_precision("bfloat16", device) == "bfloat16":
        yield from _rows("torch", only, found, batches, kernels=False, precision="bfloat16")
        if has_kernels:
            yield from _rows("kernels", nets, found, batches, kernels=True, precision="bfloat16")


def _rows(
    by: str,
    nets: Mapping[str, Sequence[str]],
    found: Measurement,
    batches: Sequence[Batch],
    *,
    kernels: bool,
    precision: Precision,
) -> Iterator[Row]:
    """Rows of the nets of each name; of these, the first and as many more as there is time for."""
    ends_at = time.perf_counter() + min(EQUALITY_SECONDS, found.seconds_left)
    for name, texts in nets.items():
        differences: list[Difference] = []
        for net in texts:
            if not differences or time.perf_counter() < ends_at:
                differences += first_step(net, batches, precision=precision, kernels=kernels)
        label = f"{name}, {by}, {precision}"
        if precision == "float32" and not kernels:
            share = 100 * statistics.mean(one.agrees for one in differences)
            note = f"of {len(differences)} members: loss to {SAME_LOSS:g}, gradient to {SAME_GRADIENT:g}"
            yield row(SECTION, label, "% agree", [share], note=note)
        figures = {
            "gradient": [one.gradient for one in differences],
            "loss": [one.loss for one in differences],
        }
        for quantity, values in figures.items():
            scaled = [MEGA * value for value in values]
            yield row(SECTION, label, f"{quantity}, 1e-6", scaled, note=f"max {max(scaled):.3g}")


def first_step(net: str, batches: Sequence[Batch], *, precision: Precision, kernels: bool) -> list[Difference]:
    """The differences of the members of a stack, each with its own weights, images (a batch for each) and dropout.

    kernels: whether the stack may use the Triton kernels; alone, torch computes.
    """
    with _without_tf32():
        device, members = batches[0].images.device, len(batches)
        models = [
            to_device(build(net, SHAPE, generator=torch.Generator().manual_seed(seed)), device)
            for seed in range(members)
        ]
        stack = to_device(Stack(net, SHAPE, members=members), device)
        for number, model in enumerate(models):
            stack.load_member(number, model.state_dict())
        with nullcontext() if kernels else stacked.switched_off():
            losses, together = _together(stack, batches, precision)
        with stacked.switched_off():
            alone = [_alone(*one, seed, precision) for seed, one in enumerate(zip(models, batches, strict=True))]
    return [
        Difference(
            loss=float((losses[number].double() - loss.double()).abs() / loss),
            gradient=_distance([rows_of(together[name], number, members) for name in own], list(own.values())),
        )
        for number, (loss, own) in enumerate(alone)
    ]


def _together(stack: Stack, batches: Sequence[Batch], precision: Precision) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of each member (S,), and the stacked gradients by name."""
    device, members = batches[0].images.device, len(batches)
    seeds = torch.stack([call_seeds(seed, count=stack.n_dropouts) for seed in range(members)], dim=1).to(device)
    images = side_by_side(torch.cat([batch.images for batch in batches]), members)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False):
        logits = stack(images, seeds)
    by_seed = zip(logits.float().unbind(1), batches, strict=True)
    losses = torch.stack([F.cross_entropy(one, batch.labels) for one, batch in by_seed])
    names, parameters = zip(*stack.chain.named_parameters(), strict=True)
    return losses.detach(), dict(zip(names, torch.autograd.grad(losses.sum(), parameters), strict=True))


def drawn_net(draw: random.Random) -> str:
    """A random net for images of 28 x 28: one to four convolutions, with what may stand around them."""
    while True:
        tokens: list[str] = []
        for _ in range(draw.randint(1, 4)):
            tokens.append(
                f"c{draw.randint(1, 32)}/{draw.choice((1, 3, 5))}" + draw.choice(("", "nb")) + draw.choice(("", "p1"))
            )
            tokens += draw.choice(([], ["bn"])) + draw.choice(([], ["r"], ["silu"])) + draw.choice(([], ["m2"], ["a2"]))
            tokens += draw.choice(([], [], ["do.1"], ["sdo.1"]))
        tokens += [*draw.choice((["flat"], ["gap", "flat"])), "fc10"]
        text = " ".join(tokens)
        try:
            infer_shapes(parse_net(text), SHAPE)
        except NotationError:  # too small for its windows
            continue
        return text


def _alone(model: nn.Module, batch: Batch, seed: int, precision: Precision) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one net."""
    with torch.random.fork_rng(devices=[]):
        logits = forward(model, batch.images, dropout_seed=seed, precision=precision)
    loss = F.cross_entropy(logits, batch.labels)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return loss.detach(), dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def _distance(stacked: Sequence[Tensor], own: Sequence[Tensor]) -> float:
    """Of two gradients, as a share of the length of the second."""
    first, second = (torch.cat([one.double().flatten() for one in gradient]) for gradient in (stacked, own))
    return float((first - second).norm() / second.norm())


@contextmanager
def _without_tf32() -> Iterator[None]:
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
