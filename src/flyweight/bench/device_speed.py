"""`bench device`: images a second of training steps, and what the GPU's memory and arithmetic would allow.

Contenders alternate, so every ratio has both sides from one run.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from flyweight.bench.device_task import (
    FAST,
    MEGA,
    Measurement,
    ascii_line,
    batches_of,
    captured_steps,
    new_training,
    read_task,
    settings_of,
)
from flyweight.bench.roofline import training_flops
from flyweight.bench.rows import Row, row, side_by_side, spread
from flyweight.bench.task import SHAPE
from flyweight.kernels import stacked
from flyweight.model.build import module_of
from flyweight.model.count import count
from flyweight.model.layout import infer_shapes, leaves
from flyweight.model.notation import parse_net
from flyweight.train import device as devices
from flyweight.train import loop
from flyweight.train.device import working_precision
from flyweight.train.epoch import plan_epoch
from flyweight.train.evaluate import Evaluation

GIGA, TERA = 1e9, 1e12


class Contender(Protocol):
    """A training that can take steps. images: those of that many steps."""

    def begin(self) -> None:
        """Go back to the beginning of an epoch; not timed."""

    def take(self, steps: int) -> None: ...

    def images(self, steps: int) -> int: ...

    @property
    def max_steps(self) -> int: ...


class Captured:
    """Seeds as one stacked net, by the Triton kernels, if there are any, or by torch alone."""

    def __init__(self, found: Measurement, members: int, batch_size: int, *, by_torch: bool) -> None:
        task = read_task(FAST, found.size)
        batches, _ = batches_of(task, found.pixels, range(members))
        self.batches = [one.alike(batch_size=batch_size) for one in batches]
        with stacked.switched_off() if by_torch else nullcontext():
            self.steps = captured_steps(task, found.pixels, self.batches)
            self.kernels = devices.kernels(found.device)
        self.plans = [plan_epoch(one, 1, epochs=task.epochs, lr=task.lr) for one in self.batches]

    @property
    def max_steps(self) -> int:
        return max(1, self.steps.batches.n_steps - 1)

    def begin(self) -> None:
        self.steps.begin(self.plans, epoch=1)

    def take(self, steps: int) -> None:
        for step in range(steps):
            self.steps.take(step)

    def images(self, steps: int) -> int:
        return len(self.batches) * sum(map(self.steps.batches.size_of, range(steps)))


class Eager:
    """One net in the loop that launches each operation of torch by itself, as where no step can be captured."""

    def __init__(self, found: Measurement) -> None:
        task = read_task(FAST, found.size)
        # A constant rate: the schedule of an epoch is computed once, not for each round.
        self.settings = replace(settings_of(task, found.device), lr=lambda _progress: task.optimizer.lr / 10)
        (self.batches,), _ = batches_of(task, found.pixels, [0])
        self.training = new_training(task, found.pixels, 0)

    @property
    def max_steps(self) -> int:
        return max(1, self.batches.n_steps - 1)

    def begin(self) -> None:
        self.training.step, self.training.count = 0, 0

    def take(self, steps: int) -> None:
        taken = iter(range(1, steps + 1))
        with stacked.switched_off():
            outcome = loop.fit(
                self.training,
                self.batches,
                self.settings,
                validate=_not_measured,
                should_stop=lambda: next(taken) == steps,
            )
        assert outcome.status == "interrupted", outcome

    def images(self, steps: int) -> int:
        return steps * self.batches.batch_size


class NotebooksWay:
    """Pictures transformed one at a time by Pillow and a DataLoader; plain modules in eager float32."""

    def __init__(self, found: Measurement) -> None:
        from flyweight.bench.notebook import Pictures, loader  # needs Pillow

        task, pixels = read_task(FAST, found.size), found.pixels
        augmentation, self.device = task.augmentation, found.device
        pictures = Pictures(
            pixels.image_set.train_images[:, 0],
            pixels.image_set.train_labels,
            mean=0.1307,
            std=0.3081,
            rotate=augmentation.rotate,
            translate=augmentation.translate,
        )
        workers = 2 if self.device.type == "cuda" else 0
        self.batches = loader(pictures, batch_size=task.batch_size, workers=workers)
        self.batches.timeout = 60 if workers else 0
        shaped = leaves(infer_shapes(parse_net(task.net), SHAPE))
        self.model = nn.Sequential(*(module_of(one.layer, one.in_shape) for one in shaped)).to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=task.optimizer.lr, momentum=0.9)
        self.batch_size = task.batch_size
        self.losses = self._train()

    @property
    def max_steps(self) -> int:
        return len(self.batches)

    def begin(self) -> None:
        """It goes on where it was."""

    def take(self, steps: int) -> None:
        torch.backends.cudnn.deterministic = False  # as in a notebook
        for _ in range(steps):
            next(self.losses)
        torch.backends.cudnn.deterministic = True

    def images(self, steps: int) -> int:
        return steps * self.batch_size

    def _train(self) -> Iterator[float]:
        while True:
            for images, labels in self.batches:
                self.optimizer.zero_grad()
                loss = F.cross_entropy(self.model(images.to(self.device)), labels.to(self.device))
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                yield loss.item()


def speed(found: Measurement) -> Iterator[Row]:
    """Images a second of training steps, with the seconds of the capture and the peak memory."""
    section = "device speed"
    contenders: dict[str, Contender] = {}
    stacks, capture_rows, memory_rows = dict[str, tuple[int, int]](), list[Row](), list[Row]()
    others: dict[str, Callable[[Measurement], Contender]] = {
        "eager, batch 64": Eager,
        "notebook, batch 64": NotebooksWay,
    }
    for name, make in others.items():
        try:
            contenders[name] = make(found)
            _seconds_of(found, contenders[name], 1)
        except (ImportError, OSError, RuntimeError) as error:  # no Pillow, or no processes or memory for a DataLoader
            contenders.pop(name, None)
            yield _not_had(section, name, error)
    has_kernels = found.device.type == "cpu" or not stacked.why_unusable(found.device)
    wanted = [(stack, False) for stack in found.size.stacks]
    wanted += [(stack, True) for stack in found.size.by_torch if has_kernels]
    for stack, by_torch in wanted:
        name = _name_of(stack) + (", torch" if by_torch else "")
        try:
            contender, peak = _with_peak(found, functools.partial(Captured, found, *stack, by_torch=by_torch))
        except torch.OutOfMemoryError as error:
            yield _not_had(section, name, error)
            continue
        contenders[name] = contender
        if not by_torch:
            stacks[name] = stack
        note = ascii_line(contender.steps.why_eager or contender.kernels)
        capture_rows.append(row(section, name, "capture s", [contender.steps.capture_seconds], note=note))
        memory_rows.append(row(section, name, "peak MB", peak, note="" if peak else "not measured on a CPU"))
    rates = _alternated(found, contenders)
    for name, stack in stacks.items():
        found.rates[stack] = spread(rates[name])[1]
    yield from side_by_side([row(section, name, "images/s", rates[name]) for name in contenders], more_is_better=True)
    yield from (*capture_rows, *memory_rows)


def _name_of(stack: tuple[int, int]) -> str:
    members, batch_size = stack
    return f"{members} captured, batch {batch_size}"


def _not_had(section: str, contender: str, error: Exception) -> Row:
    return row(section, contender, "not measured", [], note=ascii_line(f"{type(error).__name__}: {error}"))


def _with_peak(found: Measurement, make: Callable[[], Captured]) -> tuple[Captured, list[float]]:
    """The contender, and the most memory in MB that it took, beside the images."""
    found.release()
    if found.device.type != "cuda":
        return make(), []
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    made = make()
    return made, [(torch.cuda.max_memory_allocated() - before) / MEGA]


def _alternated(found: Measurement, contenders: dict[str, Contender]) -> dict[str, list[float]]:
    """Images a second of each contender in each round."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    steps = {name: _steps_for(found, one) for name, one in contenders.items()}
    for _ in range(found.size.rounds):
        for name, contender in contenders.items():
            rates[name].append(contender.images(steps[name]) / _seconds_of(found, contender, steps[name]))
    return rates


def _steps_for(found: Measurement, contender: Contender) -> int:
    """Steps of a round, by a first one, after steps that warm up."""
    few = min(3, contender.max_steps)
    _seconds_of(found, contender, few)
    wanted = round(found.size.round_seconds * few / _seconds_of(found, contender, few))
    return min(max(wanted, few), contender.max_steps)


def _seconds_of(found: Measurement, contender: Contender, steps: int) -> float:
    contender.begin()
    found.synchronise()
    began = time.perf_counter()
    contender.take(steps)
    found.synchronise()
    return time.perf_counter() - began


def _not_measured(_model: nn.Module) -> Evaluation:
    return Evaluation(loss=0.0, correct=0, count=1, probabilities=torch.empty(0))


def ceilings(found: Measurement) -> Iterator[Row]:
    """The highest rates of memory and matrix products, and the share that the measured steps reach.

    Bytes of a step are a floor: the output of each layer is written once and read once in the forward pass, and its
    gradient in the backward pass, in the precision of the step; weights and the optimizer are not counted.
    """
    section = "device ceilings"
    copied = copy_rates(found)
    yield row(section, "memory copy", "GB/s", copied, note="read and written")
    products = {name: product_rates(found, name) for name in _products(found)}
    for name, rates in products.items():
        yield row(section, f"product {name}", "TFLOP/s", rates)
    task = read_task(FAST, found.size)
    precision = settings_of(task, found.device).precision
    peak, width = spread(products[precision])[1] * TERA, 2 if precision == "bfloat16" else 4
    bytes_, flops = step_bytes(task.net, width=width), training_flops(task.net)
    for stack, rate in found.rates.items():
        name = _name_of(stack)
        memory, arithmetic = rate * bytes_ / (spread(copied)[1] * GIGA), rate * flops / peak
        yield row(section, name, "% of copy", [100 * memory], note=f"{bytes_ / 1000:.0f} kB an image")
        yield row(section, name, "% of product", [100 * arithmetic], note=f"{flops / MEGA:.1f} MFLOP an image")


def step_bytes(net: str, *, width: int) -> int:
    """Bytes of the activations and their gradients in a training step of one image, each written once and read once.

    width: bytes of a value. The image is read once, and has no gradient.

    >>> step_bytes("flat fc10", width=4)
    3296
    """
    rows = [one for one in count(net, SHAPE).rows if one.is_executed and one.kind != "flatten"]
    return width * (math.prod(SHAPE) + 4 * sum(math.prod(one.out_shape) for one in rows))


def copy_rates(found: Measurement) -> list[float]:
    """GB/s of a copy on the device, counting bytes read and bytes written."""
    source = torch.randint(0, 256, (found.size.copied_bytes,), dtype=torch.uint8, device=found.device)
    target = torch.empty_like(source)
    moved = 2 * found.size.copied_bytes
    return [moved / seconds / GIGA for seconds in _timed(found, lambda: target.copy_(source))]


def product_rates(found: Measurement, name: str) -> list[float]:
    """TFLOP/s of the product of two square matrices of random numbers."""
    side, dtype = found.size.matrix_side, torch.bfloat16 if name == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=found.device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    try:
        return [2 * side**3 / seconds / TERA for seconds in _timed(found, lambda: torch.mm(a, b, out=product))]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def _products(found: Measurement) -> list[str]:
    names = ["float32"]
    if found.device.type == "cuda":
        names.append("tf32")
    if working_precision("bfloat16", found.device) == "bfloat16":
        names.append("bfloat16")
    return names


def _timed(found: Measurement, work: Callable[[], object]) -> list[float]:
    """Seconds of a call, one for each round, by events on a GPU."""
    for _ in range(3):
        work()
    return [_timed_once(found, work) for _ in range(found.size.rounds)]


def _timed_once(found: Measurement, work: Callable[[], object]) -> float:
    if found.device.type != "cuda":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    before.record()
    work()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after)) / 1000
