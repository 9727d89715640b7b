"""The training steps of a population: on a GPU each is one CUDA graph, which the host only replays.

A step chooses images, warps them, runs forward and backward, updates weights and averages, and adds to sums. Within an
epoch nothing is drawn on the host and nothing is read from the device. On other devices, and where a capture is
refused, the same function runs uncaptured.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from flyweight.data.batches import Batch
from flyweight.data.stacked_batches import StackedBatches
from flyweight.kernels import stacked
from flyweight.kernels.dropout import call_seeds
from flyweight.model.stacked import by_member
from flyweight.train.device import Precision
from flyweight.train.epoch import EpochPlan
from flyweight.train.loss import Loss
from flyweight.train.population import Population

# Before a capture: torch and its libraries make handles and choose algorithms in the first steps.
WARM_UP_STEPS: Final = 3

# Of the gradient of a first step, by kernels and by torch, relative to its length. Rounding to bfloat16 gives some 2 %.
MAX_DIFFERENCE: Final = 0.1

# The host waits when it is this many steps ahead of the device, so that a stop takes effect soon.
STEPS_AHEAD, STEPS_BETWEEN_EVENTS = 64, 16


@dataclass(frozen=True, kw_only=True)
class EpochSums:
    """What S members have measured in an epoch so far.

    losses: (n_steps, S), the mean loss of each step. loss_sum: (S,) float64 and correct: (S,) int64, over the images.
    last_batch: logits (S, N, classes) and labels (S, N) of the last step, None before the first one.
    """

    losses: Tensor
    loss_sum: Tensor
    correct: Tensor
    last_batch: tuple[Tensor, Tensor] | None


class StackedSteps:
    """The steps of a population, epoch after epoch.

    why_eager: why they are not captured, "" if they are. capture_seconds: of warming up and capturing.
    """

    def __init__(
        self,
        population: Population,
        batches: StackedBatches,
        *,
        loss: Loss,
        precision: Precision,
        captures: bool = True,
    ) -> None:
        self.population, self.batches, self.loss, self.precision = population, batches, loss, precision
        device, members, n_steps = population.device, len(population.trainings), batches.n_steps
        self.why_eager = "" if device.type == "cuda" and captures else f"not captured on {device.type}"
        n_dropouts = population.stack.n_dropouts
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._lrs = torch.zeros(n_steps, device=device)
        self._dropout_seeds = torch.zeros((n_steps, n_dropouts, members), dtype=torch.int64, device=device)
        self._losses = torch.zeros((n_steps, members), device=device)
        self._loss_sum = torch.zeros(members, dtype=torch.float64, device=device)
        self._correct = torch.zeros(members, dtype=torch.int64, device=device)
        self._last: dict[int, tuple[Tensor, Tensor]] = {}
        self._last_size = 0
        self._start: list[Tensor] = []
        self._first_step, self._is_ready = 0, False
        self.capture_seconds = 0.0
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._events: deque[torch.cuda.Event] = deque()

    def begin(self, plans: Sequence[EpochPlan], *, epoch: int, step: int = 0) -> None:
        """Load an epoch, of which `step` steps are done. plans: one for each member."""
        trainings = self.population.trainings
        self.batches.load(epoch)
        self._lrs.copy_(plans[0].lrs)
        if self._dropout_seeds.numel():
            self._dropout_seeds.copy_(_call_seeds(plans, self._dropout_seeds.shape[1]))
        self._first_step, self._last_size = step, 0
        self._step.fill_(step)
        self._losses.zero_()
        self._loss_sum.copy_(torch.tensor([one.loss_sum for one in trainings], dtype=torch.float64))
        self._correct.copy_(torch.tensor([one.correct for one in trainings]))
        self._start = [tensor.clone() for tensor in self._state()]

    def capture(self) -> None:
        """Capture the steps, of whole and of smaller batches, if that is possible and not done; an epoch is loaded."""
        if self._is_ready:
            return
        self._is_ready, began = True, time.perf_counter()
        self._check_kernels()
        for size in {self.batches.size_of(step) for step in (0, self.batches.n_steps - 1)}:
            if not self.why_eager:
                self._capture(size)
        if self._graphs:
            torch.cuda.synchronize()
        self.capture_seconds += time.perf_counter() - began

    def take(self, step: int) -> None:
        """Compute the next step, number `step` of the epoch; on a GPU this returns before it is done."""
        size = self.batches.size_of(step)
        if size in self._graphs and not self.why_eager:
            self._graphs[size].replay()
            self._wait_if_ahead(step)
        else:
            self._compute(size)
        self._last_size = size

    def sums(self) -> EpochSums:
        """The sums of the epoch so far, still on the device."""
        return EpochSums(
            losses=self._losses,
            loss_sum=self._loss_sum,
            correct=self._correct,
            last_batch=self._last.get(self._last_size),
        )

    @contextmanager
    def rewound(self, step: int) -> Iterator[Batch]:
        """Within, the population is as it was before a step of this epoch; gives the batch of that step."""
        state = self._state()
        end = [tensor.clone() for tensor in state]
        _restore(state, self._start)
        try:
            for earlier in range(self._first_step, step):
                self.take(earlier)
            yield self.batch(step)
        finally:
            _restore(state, end)

    def batch(self, step: int) -> Batch:
        """The batch of a step of this epoch, of all members."""
        return self.batches.batch(torch.full_like(self._step, step), self.batches.size_of(step))

    def _state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        return [*self.population.state(), self._step, self._losses, self._loss_sum, self._correct]

    def _check_kernels(self) -> None:
        """Compare the first step with torch alone, and give up kernels that fail or disagree on this machine."""
        device = self.population.device
        if stacked.why_unusable(device):
            return
        try:
            with self._tried() as back:
                found = self._gradients()
                back()
                with stacked.switched_off():
                    expected = self._gradients()
            difference = float((found - expected).norm() / expected.norm())
            if not difference < MAX_DIFFERENCE and bool(expected.isfinite().all()):
                stacked.give_up(f"the Triton kernels differ from torch by {difference:.1%} on this machine")
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler on an unknown machine raises
            stacked.give_up(f"the Triton kernels do not run on this machine: {_first_line(error)}")

    @contextmanager
    def _tried(self) -> Iterator[Callable[[], None]]:
        """Steps within leave no trace; what it gives undoes them. They have images of step 0, enough for any size."""
        state = self._state()
        before = [tensor.clone() for tensor in state]

        def back() -> None:
            _restore(state, before)
            self._step.zero_()

        back()
        try:
            yield back
        finally:
            _restore(state, before)

    def _gradients(self) -> Tensor:
        """The gradient of all members as one vector, at the current step."""
        losses, _, _ = self._forward(self.batches.size_of(0))
        gradients = self.population.gradients(self._reduced(losses))
        return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])

    def _forward(self, size: int) -> tuple[Tensor, Tensor, Batch]:
        """Losses (S, N) and logits (S, N, classes) of the current step, and its batch."""
        population, step = self.population, self._step
        batch, members = self.batches.batch(step, size), len(population.trainings)
        seeds = self._dropout_seeds.index_select(0, step)[0]
        with torch.autocast(step.device.type, torch.bfloat16, self.precision == "bfloat16", cache_enabled=False):
            logits = population.stack(batch.images, seeds)
        logits = logits.float().transpose(0, 1)
        flat = Batch(images=batch.images, labels=batch.labels.flatten(), rows=batch.rows.flatten())
        return by_member(self.loss.per_image(logits.flatten(0, 1), flat), members), logits, batch

    def _reduced(self, losses: Tensor) -> Tensor:
        """(S, N) to the loss (S,) that each member minimises."""
        return losses.mean(1) if self.loss.reduction == "mean" else losses.sum(1)

    def _compute(self, size: int) -> None:
        """One step with a batch of this size; it is captured, so it reads no value on the host."""
        population, step = self.population, self._step
        losses, logits, batch = self._forward(size)
        population.lr.copy_(self._lrs.index_select(0, step).view(()))
        population.update(self._reduced(losses))
        means, logits = losses.detach().mean(1), logits.detach()
        self._losses.index_copy_(0, step, means.unsqueeze(0))
        self._loss_sum += means.double() * size
        self._correct += (logits.argmax(2) == batch.labels).sum(1)
        self._step += 1
        self._last[size] = logits, batch.labels

    def _capture(self, size: int) -> None:
        """Capture the step for a batch size; the steps that warm up leave no trace."""
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            with self._tried() as back:
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UP_STEPS):
                        self._compute(size)
                        back()
                torch.cuda.current_stream().wait_stream(stream)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool):
                    self._compute(size)
            self._graphs[size] = graph
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
                raise torch.OutOfMemoryError(str(error)) from error
            self.why_eager = f"capture refused: {_first_line(error)}"
            torch.cuda.synchronize()

    def _wait_if_ahead(self, step: int) -> None:
        if step % STEPS_BETWEEN_EVENTS == 0:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self._events.append(event)
            if len(self._events) > STEPS_AHEAD // STEPS_BETWEEN_EVENTS:
                self._events.popleft().synchronize()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _call_seeds(plans: Sequence[EpochPlan], count: int) -> Tensor:
    """(n_steps, count, S) int64: the number that each dropout layer of each member draws in each step."""
    seeds = [torch.stack([call_seeds(seed, count=count) for seed in plan.dropout_seeds.tolist()]) for plan in plans]
    return torch.stack(seeds, dim=2)


@torch.no_grad()
def _restore(state: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(state, values, strict=True):
        tensor.copy_(value)
