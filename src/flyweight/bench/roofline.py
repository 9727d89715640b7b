"""`bench roofline`: limits of this machine, how near a training step comes to them, and the time of its parts.

The limits are the highest rates of matrix products and convolutions that torch reaches for each dtype, and the rate of
a memory copy. The operations of a step are counted, not measured: `training_flops`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F

from flyweight.bench.engine import Engine, start_engine
from flyweight.bench.isolated import once
from flyweight.bench.rows import Row, row, spread
from flyweight.bench.sizes import Size
from flyweight.bench.task import BATCH_SIZE, LR, NET, PRECISIONS, Precision
from flyweight.bench.timing import seconds_of
from flyweight.model.count import count
from flyweight.train import device as devices
from flyweight.train.device import usable_cores
from flyweight.train.loss import CrossEntropy
from flyweight.train.step import backward, forward, update

SECTION: Final = "roofline"
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GIGA: Final = 1e9

# A convolution that libraries compute fast: 3 x 3, as many channels in as out, enough to fill any register.
CHANNELS, SIDE, IMAGES = 64, 28, 64
# Larger than any known cache.
COPIED_BYTES: Final = 256 * 2**20
WARM_UP: Final = 3

PART: Final = "ms (% of step)"
PARTS: Final = ("augmentation", "forward", "backward", "optimizer")


def training_flops(net: str, input_shape: tuple[int, int, int] = (1, 28, 28)) -> int:
    """Floating-point operations of the weights in one training step, for one image.

    Forward takes 2 per MAC (multiply, add); backward takes 2 for the gradient of the weights and 2 for that of the
    input, which the first layer with weights does not need. Bias, batch norm and pooling are not counted, as in
    `count`.

    >>> training_flops("flat fc10", (1, 2, 2))
    160
    """
    macs = [row.macs for row in count(net, input_shape).rows if row.is_executed and row.macs]
    return 2 * (3 * sum(macs) - macs[0])


def roofline(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for the limits, the share of each that a step reaches, and the parts of a step."""
    return once(_measured, size=size, threads=threads or usable_cores())


def _measured(size: Size, threads: int) -> list[Row]:
    devices.prepare(threads=threads)
    ceilings = _ceilings(size)
    rows = [row(SECTION, name, "GFLOP/s", rates, note=note) for name, (rates, note) in ceilings.items()]
    rows.append(row(SECTION, "memory copy", "GB/s", copy_rates(rounds=size.rounds), note="read and written"))
    peaks = {name: spread(rates)[1] for name, (rates, _) in ceilings.items()}
    for precision in PRECISIONS:
        engine = start_engine(test_count=size.test_images, threads=threads, precision=precision)
        seconds = step_seconds(engine, steps=size.steps, rounds=size.rounds)
        rows += _shares(precision, seconds, peaks)
        rows += _part_rows(engine, seconds, size)
    return rows


def _ceilings(size: Size) -> dict[str, tuple[list[float], str]]:
    """GFLOP/s and a note for each limit."""
    found: dict[str, tuple[list[float], str]] = {}
    for name, dtype in DTYPES.items():
        products = {side: product_rates(side, dtype, rounds=size.rounds) for side in size.matrix_sides}
        best = max(products, key=lambda side: spread(products[side])[1])
        found[f"matrix product {name}"] = products[best], f"{best} x {best}"
    for name, dtype in DTYPES.items():
        note = f"{CHANNELS} channels, 3 x 3, channels last"
        found[f"convolution {name}"] = convolution_rates(dtype, rounds=size.rounds), note
    return found


def product_rates(side: int, dtype: torch.dtype, *, rounds: int) -> list[float]:
    """GFLOP/s of products of two square matrices."""
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return [2 * side**3 / seconds / GIGA for seconds in _timed(lambda: torch.mm(a, b, out=product), rounds)]


@torch.inference_mode()
def convolution_rates(dtype: torch.dtype, *, rounds: int) -> list[float]:
    """GFLOP/s of one large convolution, forward."""
    images = torch.randn(IMAGES, CHANNELS, SIDE, SIDE).to(dtype).to(memory_format=torch.channels_last)
    weights = torch.randn(CHANNELS, CHANNELS, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    operations = 2 * IMAGES * SIDE**2 * CHANNELS**2 * 9
    return [operations / seconds / GIGA for seconds in _timed(lambda: F.conv2d(images, weights, padding=1), rounds)]


def copy_rates(*, rounds: int) -> list[float]:
    """GB/s of a memory copy, counting bytes read and bytes written."""
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8)
    target = torch.zeros_like(source)
    return [2 * COPIED_BYTES / seconds / GIGA for seconds in _timed(lambda: target.copy_(source), rounds)]


def _timed(work: Callable[[], object], rounds: int) -> list[float]:
    for _ in range(WARM_UP):
        work()
    return [seconds_of(work) for _ in range(rounds)]


def step_seconds(engine: Engine, *, steps: int, rounds: int) -> list[float]:
    """Seconds of one step after warm-up, one value for each round of `steps`."""
    take = functools.partial(engine.take, steps=steps)
    take()
    return [seconds_of(take) / steps for _ in range(rounds)]


def _shares(precision: Precision, seconds: list[float], peaks: dict[str, float]) -> Iterator[Row]:
    """The rate of a step, and its share of the limits of its own precision and of float32."""
    name = f"step {precision}"
    rates = [training_flops(NET) * BATCH_SIZE / taken / GIGA for taken in seconds]
    yield row(SECTION, name, "images/s", [BATCH_SIZE / taken for taken in seconds])
    yield row(SECTION, name, "GFLOP/s", rates, note=f"{training_flops(NET) / 1e6:.1f} MFLOP an image")
    for ceiling in dict.fromkeys(("matrix product float32", f"matrix product {precision}", f"convolution {precision}")):
        shares = [rate / peaks[ceiling] for rate in rates]
        quantity = "% of " + ceiling.replace("matrix product", "mm").replace("convolution", "conv")
        yield row(SECTION, name, quantity, [100 * share for share in shares], ratio=spread(shares)[1])


def _part_rows(engine: Engine, seconds: list[float], size: Size) -> Iterator[Row]:
    """Milliseconds of each part measured separately; the overhead is the rest of the step.

    The overhead is negative if the loop does two parts at the same time.
    """
    step = 1000 * spread(seconds)[1]
    parts = part_seconds(engine, steps=size.steps)
    medians = {name: 1000 * spread(values)[1] for name, values in parts.items()}
    yield row(SECTION, f"{engine.precision}: step", PART, [1000 * taken for taken in seconds])
    for name, values in parts.items():
        note = _percent(medians[name] / step)
        yield row(SECTION, f"{engine.precision}: {name}", PART, [1000 * taken for taken in values], note=note)
    rest = step - sum(medians.values())
    yield row(SECTION, f"{engine.precision}: overhead", PART, [rest], note=_percent(rest / step))
    evaluations = _timed(lambda: engine.evaluate(engine.training.result), size.rounds)
    scale = 1000 * 10_000 / len(engine.images.test_images)
    yield row(SECTION, f"{engine.precision}: evaluation", "ms/10,000 images", [scale * taken for taken in evaluations])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def part_seconds(engine: Engine, *, steps: int) -> dict[str, list[float]]:
    """Seconds of each part of a step, one value for each of `steps` steps after the warm-up."""
    engine.model.train()
    taken: dict[str, list[float]] = {name: [] for name in PARTS}
    for step in range(-WARM_UP, steps):
        seconds = _one_step(engine, step % engine.batches.n_steps)
        if step >= 0:
            for name, part in zip(PARTS, seconds, strict=True):
                taken[name].append(part)
    return taken


def _one_step(engine: Engine, step: int) -> tuple[float, ...]:
    """Seconds of each part of one training step."""
    training = engine.training
    clock = [time.perf_counter()]
    batch = engine.batches(training.epoch, step)
    clock.append(time.perf_counter())
    logits = forward(training.model, batch.images, dropout_seed=step, precision=engine.precision)
    clock.append(time.perf_counter())
    backward(CrossEntropy()(logits, batch), training.optimizer)
    clock.append(time.perf_counter())
    update(training.optimizer, lr=LR)
    clock.append(time.perf_counter())
    return tuple(after - before for before, after in pairwise(clock))
