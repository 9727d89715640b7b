"""The evaluation of all members of a stack at once is that of each net alone."""

from __future__ import annotations

import pytest
import torch
from made_population import IMAGE, NET, images_of
from torch import Tensor, nn

from flyweight.model.build import build
from flyweight.model.stacked import Stack
from flyweight.train import evaluate as evaluation
from flyweight.train.evaluate import Evaluation, evaluate, evaluate_stack

MEANS, STDS = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)


def nets() -> list[nn.Module]:
    return [build(NET, IMAGE, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def stack_of(alone: list[nn.Module]) -> Stack:
    stack = Stack(NET, IMAGE, members=len(alone))
    for number, net in enumerate(alone):
        stack.load_member(number, net.state_dict())
    return stack


def numbers(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1, 1)


def evaluated(stack: Stack, rows: Tensor) -> list[Evaluation]:
    scale = 1 / (255 * numbers(STDS))
    return evaluate_stack(stack, *images_of(2, 40), rows, scale=scale, offset=-numbers(MEANS) / numbers(STDS))


def assert_as_alone(found: list[Evaluation], alone: list[nn.Module], rows: Tensor) -> None:
    images, labels = images_of(2, 40)
    assert len(found) == 3
    for number, (ours, net) in enumerate(zip(found, alone, strict=True)):
        part = rows[number]
        expected = evaluate(
            net, images[part], labels[part], mean=MEANS[number : number + 1], std=STDS[number : number + 1]
        )
        assert (ours.correct, ours.count) == (expected.correct, expected.count)
        assert ours.loss == pytest.approx(expected.loss, rel=1e-5)
        assert torch.allclose(ours.probabilities, expected.probabilities, atol=1e-5)


@pytest.mark.parametrize("batch", [3, 21, 40, 10**6])
def test_each_member_is_evaluated_as_alone(batch, monkeypatch):
    """With rows and statistics of its own, whatever the batches; the mode of the stack is left as it was."""
    monkeypatch.setattr(evaluation, "STACKED_BATCH", batch)
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randperm(40, generator=generator)[:31] for _ in range(3)])
    alone = nets()
    stack = stack_of(alone)

    assert_as_alone(evaluated(stack, rows), alone, rows)

    assert stack.training
    stack.eval()
    evaluated(stack, rows)
    assert not stack.training


def test_batches_become_smaller_where_memory_is_too_small(monkeypatch):
    """The figures are the same, and what does not fit at all is an error."""
    alone, sizes, fits = nets(), list[int](), [7]
    stack, rows = stack_of(alone), torch.arange(40).expand(3, 40)

    def forward(inputs: Tensor) -> Tensor:
        sizes.append(len(inputs))
        if len(inputs) > fits[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Stack.forward(stack, inputs)

    monkeypatch.setattr(stack, "forward", forward)

    assert_as_alone(evaluated(stack, rows), alone, rows)
    assert sum(size for size in sizes if size <= 7) == 40
    assert max(sizes) == 40
    fits[0] = 0
    with pytest.raises(torch.OutOfMemoryError):
        evaluated(stack, rows)
