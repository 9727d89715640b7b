"""The kinds of fault that are planted, in one table: what is changed in a healthy recipe, and who should find it.

`codes` are the findings that name the fault itself; `follows` are those that truly follow from it (a rate far too high
makes constant answers). Where the fault is a consequence, `causes` name what it is made with here, and may stand before
it. All else that is found is a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.fault_bench.healthy import Design
from benchmarks.fault_bench.images import Variant
from flyweight.model.spec import (
    Activation,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    Net,
    Node,
    Residual,
    Unused,
)
from flyweight.model.tree import Nodes, Path, nodes_with_paths, rewritten, siblings

Overrides = tuple[str, ...]

# What an untrained or destroyed net shows, whatever destroyed it.
_BROKEN: Final = ("SI01", "SI02", "SI03", "SI04", "SI05", "SI06", "FI02")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fault. planted: from a design and the strength (0, 1, ... of `strengths`) to changes of its recipe.

    suits: the designs in which it is a fault. variant: the images that it needs. is_declared: the recipe itself says
    it, so that finding it is reading; the others must be measured or judged. is_mild: planted so weakly that it may
    cost next to nothing; counted apart, to show where finding ends.
    """

    name: str
    codes: tuple[str, ...]
    planted: Callable[[Design, int], Overrides]
    follows: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    suits: Callable[[Design], bool] = lambda _design: True
    strengths: int = 1
    variant: Variant = "sound"
    is_declared: bool = False
    is_mild: bool = False


def _fixed(*overrides: str) -> Callable[[Design, int], Overrides]:
    return lambda _design, _strength: overrides


def _lr_times(*factors: float) -> Callable[[Design, int], Overrides]:
    return lambda design, strength: (f"train.lr={design.lr * factors[strength]:.6g}",)


def _net(change: Callable[[Net], Net]) -> Callable[[Design, int], Overrides]:
    return lambda design, _strength: (f"model.net={change(design.spec)}",)


def _nets(tuning: str, reporting: str, *overrides: str) -> Callable[[Design, int], Overrides]:
    """Nets of their own for the two halves, so that no threshold has seen those that are reported on."""
    return lambda design, _strength: (f"model.net={tuning if design.half == 'tuning' else reporting}", *overrides)


def _layers(change: Callable[[Node, Node | None], Nodes]) -> Callable[[Net], Net]:
    """A change of nets. change: from a node and the one behind it, if any, to what stands there instead."""

    def changed(net: Net) -> Net:
        changes: dict[Path, Nodes] = {}
        for path, node in nodes_with_paths(net.nodes):
            behind = siblings(net, path)[path[-1] + 1 :]
            instead = change(node, behind[0] if behind else None)
            if instead != (node,):
                changes[path] = instead
        return rewritten(net, changes)

    return changed


def _with_bias(node: Node, _behind: Node | None) -> Nodes:
    return (replace(node, bias=True) if isinstance(node, Conv | DepthwiseConv) else node,)


def _without_norm(node: Node, behind: Node | None) -> Nodes:
    return () if isinstance(node, BatchNorm) else _with_bias(node, behind)


def _dropout_before_norm(node: Node, behind: Node | None) -> Nodes:
    """Where an activation stands behind it: the last layer of a residual block stays as it is."""
    return (Dropout(0.2), node) if isinstance(node, BatchNorm) and isinstance(behind, Activation) else (node,)


def _dropout_after_activations(p: float) -> Callable[[Node, Node | None], Nodes]:
    return lambda node, _behind: (node, Dropout(p)) if isinstance(node, Activation) else (node,)


def _behind_all(*nodes: Node) -> Callable[[Net], Net]:
    return lambda net: Net((*net.nodes, *nodes))


def _linear_but_once(net: Net) -> Net:
    """No activation but the first, in a chain."""
    later = _indices(net, Activation)[1:]
    return Net(tuple(node for index, node in enumerate(net.nodes) if index not in later))


def _middle_convolution(change: Callable[[int], int]) -> Callable[[Net], Net]:
    """The middle convolution of a chain with other channels."""

    def changed(net: Net) -> Net:
        convolutions = _indices(net, Conv)
        middle = convolutions[len(convolutions) // 2]
        conv = net.nodes[middle]
        assert isinstance(conv, Conv)
        return rewritten(net, {(middle,): (replace(conv, channels=change(conv.channels)),)})

    return changed


def _indices(net: Net, kind: type[Node]) -> list[int]:
    return [index for index, node in enumerate(net.nodes) if isinstance(node, kind)]


def _with_unused(node: Node, _behind: Node | None) -> Nodes:
    return (Unused((Conv(16, 1), BatchNorm())), node) if isinstance(node, Flatten) else (node,)


def _has_norm(design: Design) -> bool:
    return any(isinstance(node, BatchNorm) for _, node in nodes_with_paths(design.spec.nodes))


def _is_sgd(design: Design) -> bool:
    return design.is_sgd


def _is_chain(design: Design) -> bool:
    return not any(isinstance(node, Residual | DepthwiseConv) for node in design.spec.nodes)


def _is_deep_chain(design: Design) -> bool:
    return _is_chain(design) and design.name != "plain"


STRONG: Final = (
    Kind(
        name="learning rate too high",
        codes=("LR01",),
        follows=(*_BROKEN, "LR04"),
        planted=_lr_times(100, 1000),
        strengths=2,
    ),
    Kind(
        name="learning rate too low",
        codes=("LR02",),
        follows=("FI02", "SI01", "SI05"),
        planted=_lr_times(1 / 300, 1 / 3000),
        strengths=2,
    ),
    Kind(
        name="summed loss",
        codes=("LR03",),
        follows=(*_BROKEN, "LR01", "LR04"),
        planted=_fixed("train.loss_reduction=sum"),
        suits=_is_sgd,
        is_declared=True,
    ),
    Kind(
        name="momentum and rate together",
        codes=("LR04",),
        follows=(*_BROKEN, "LR01"),
        planted=lambda design, strength: (
            f"train.momentum={(0.99, 0.998)[strength]}",
            f"train.lr={3 * design.lr:.6g}",
        ),
        suits=_is_sgd,
        strengths=2,
    ),
    Kind(
        name="batch too large",
        codes=("ST01",),
        follows=("FI02", "SI01", "SI05", "LR02"),
        planted=lambda _design, strength: (f"train.batch_size={(512, 1024)[strength]}",),
        strengths=2,
    ),
    Kind(
        name="schedule stops early",
        codes=("ST02",),
        follows=("FI02", "LR02", "SI05"),
        planted=_fixed(
            "train.schedule=step", "train.step_epochs=1", "train.gamma=0.1", "train.epochs=8", "data.train_limit=1500"
        ),
    ),
    Kind(
        name="never anneals",
        codes=("ST03",),
        follows=("LR01",),
        planted=_fixed("train.schedule=constant"),
    ),
    Kind(
        name="constant answer",
        codes=("SI01",),
        causes=("RE06",),
        follows=(*_BROKEN, "LR01"),
        # Everything is pulled to zero, batch norm too: what is left are the biases of the answers.
        planted=lambda _design, strength: (
            "train.optimizer=sgd",
            "train.momentum=0.9",
            "train.lr=0.1",
            f"train.weight_decay={(1, 2)[strength]}",
            "train.weight_decay_on=all",
        ),
        strengths=2,
    ),
    Kind(
        name="dead channels",
        codes=("SI02",),
        causes=("LR01", "NE01"),
        follows=_BROKEN,
        planted=lambda design, strength: (
            *_nets("c16/5 r m2 c24 r c32 r m2 c24 r flat fc10", "c12 r m2 c20 r c28 r m2 c28 r flat fc10")(design, 0),
            "train.optimizer=adam",
            f"train.lr={(0.05, 0.1)[strength]}",
        ),
        strengths=2,
    ),
    Kind(
        name="vanishing gradients",
        codes=("SI03", "NE14"),
        follows=(*_BROKEN, "NE01", "LR02"),
        planted=_nets(
            "c8 sigmoid c8 sigmoid m2 c8 sigmoid c8 sigmoid c8 sigmoid flat fc10",
            "c10/5 sigmoid m2 c14 sigmoid c14 sigmoid c14 sigmoid c14 sigmoid gap flat fc10",
        ),
    ),
    Kind(
        name="exploding gradients",
        codes=("SI04",),
        follows=(*_BROKEN, "LR01", "NE01"),
        planted=_nets(
            # Each +(r) doubles what is above zero.
            "c10/5 r m2 10(+(r)) c16 r m2 c16 r flat fc10",
            "c8/5 r m2 4(+(r) +(c8p1 r) +(r)) m2 c12 r flat fc10",
            "train.optimizer=sgd",
            "train.lr=0.1",
        ),
    ),
    Kind(
        name="batch norm missing",
        codes=("NE01",),
        follows=(*_BROKEN, "LR01"),
        planted=_net(_layers(_without_norm)),
        suits=_has_norm,
    ),
    Kind(
        name="bias before batch norm",
        codes=("NE02",),
        planted=_net(_layers(_with_bias)),
        suits=_has_norm,
    ),
    Kind(
        name="dropout too strong",
        codes=("RE01",),
        follows=("FI02",),
        planted=_net(_layers(_dropout_after_activations(0.5))),
    ),
    Kind(
        name="dropout before batch norm",
        codes=("RE02",),
        follows=("FI02", "RE01"),
        planted=_net(_layers(_dropout_before_norm)),
        suits=_has_norm,
    ),
    Kind(
        name="dropout on the answers",
        codes=("RE02",),
        follows=("FI02",),
        planted=_net(_behind_all(Dropout(0.3))),
    ),
    Kind(
        name="no augmentation",
        codes=("RE04", "FI01"),
        follows=("DA05",),
        planted=_fixed(
            "augment.rotate=0", "augment.translate=0", "data.train_limit=300", "train.epochs=40", "train.batch_size=16"
        ),
    ),
    Kind(
        name="augmentation too strong",
        codes=("RE05",),
        follows=("FI02", "SI05", "SI01"),
        planted=lambda _design, strength: (
            f"augment.rotate={(120, 180)[strength]}",
            f"augment.translate={(0.3, 0.4)[strength]}",
            f"augment.scale={(0.4, 0.6)[strength]}",
        ),
        strengths=2,
    ),
    Kind(
        name="overfitting",
        codes=("FI01", "RE04"),
        follows=("NE03", "DA05"),
        planted=_nets(
            "c16 r c16 r m2 flat fc64 r fc10",
            "c12/5 r m2 c24 r flat fc48 r fc10",
            "augment.rotate=0",
            "augment.translate=0",
            "train.optimizer=adam",
            "train.lr=0.002",
            "data.train_limit=300",
            "train.epochs=30",
            "train.batch_size=16",
        ),
    ),
    Kind(
        name="underfitting",
        codes=("FI02",),
        follows=("SI05", "NE07"),
        planted=_nets(
            "c2/5s2nb bn r c3s2nb bn r c3s2nb bn r gap flat fc10", "c2/7s3nb bn r c4/5s2nb bn r gap flat fc10"
        ),
    ),
    Kind(
        name="linear layer eats the budget",
        codes=("NE03",),
        follows=("RE04", "FI01"),
        planted=_nets("c8/5nb bn r m2 c12nb bn r flat fc96 r fc10", "c6/5nb bn r m2 c10nb bn r flat fc64 r fc10"),
    ),
    Kind(
        name="pooling at the very end",
        codes=("NE04",),
        follows=("NE09", "NE10"),
        planted=_nets(
            "c10/5nb m2 bn r c14nb bn r c16nb bn r m8 flat fc10",
            "c12/5nb bn r m2 c20nb bn r m2 c28nb bn r m3 flat fc10",
        ),
    ),
    Kind(
        name="receptive field too small",
        codes=("NE05",),
        follows=("FI02", "NE09"),
        planted=_nets("c16nb bn r c24nb bn r gap flat fc10", "c12nb bn r c20nb bn r c20nb bn r gap flat fc10"),
    ),
    Kind(
        name="receptive field too large too early",
        codes=("NE06",),
        planted=_nets(
            "c8p1nb m2 bn r c12p1nb m2 bn r c16p1nb m2 bn r c16p1nb m3 bn r c16p1nb bn r c16p1nb bn r c16p1nb bn r "
            "flat fc10",
            "c8s2p1nb bn r c12s2p1nb bn r c16s2p1nb bn r c20s2p1nb bn r c24p1nb bn r c24p1nb bn r c24p1nb bn r "
            "c24p1nb bn r flat fc10",
        ),
    ),
    Kind(
        name="bottleneck",
        codes=("NE07",),
        follows=("FI02",),
        planted=_net(_middle_convolution(lambda _channels: 2)),
        suits=_is_deep_chain,
    ),
    Kind(
        name="layers never called",
        codes=("NE08",),
        planted=_net(_layers(_with_unused)),
    ),
    Kind(
        name="everything at full resolution",
        codes=("NE09",),
        planted=_nets(
            "c12p1nb bn r c12p1nb bn r c12p1nb bn r c12p1nb bn r m2 c12nb bn r m2 c12nb bn r gap flat fc10",
            "c10p1nb bn r c10p1nb bn r c10p1nb bn r m4 c20nb bn r c20nb bn r flat fc10",
        ),
    ),
    Kind(
        name="no activations",
        codes=("NE10",),
        planted=_net(_linear_but_once),
        suits=_is_deep_chain,
    ),
    Kind(
        name="activation on the answers",
        codes=("NE12",),
        follows=_BROKEN,
        planted=_net(_behind_all(Activation("relu"))),
    ),
    Kind(
        name="weight decay too strong",
        codes=("RE06",),
        follows=(*_BROKEN,),
        planted=_fixed("train.weight_decay=0.3", "train.optimizer=sgd", "train.lr=0.1"),
    ),
    Kind(
        name="evaluated through augmentation",
        codes=("EV01",),
        planted=lambda _design, strength: (
            ("protocol.evaluate_augmented=true", "protocol.shared_transform=training")[strength],
        ),
        strengths=2,
        is_declared=True,
    ),
    Kind(
        name="augmentation lost",
        codes=("EV02",),
        planted=_fixed("protocol.shared_transform=evaluation"),
        is_declared=True,
    ),
    Kind(
        name="judged on training images",
        codes=("EV03",),
        planted=_fixed("protocol.evaluate_on=train", "data.validation=none"),
        is_declared=True,
    ),
    Kind(
        name="epoch chosen on test images",
        codes=("EV04",),
        planted=_fixed("protocol.evaluate_on=test", "data.validation=none", "train.keep=best"),
        is_declared=True,
    ),
    Kind(
        name="not shuffled",
        codes=("EV05",),
        follows=(*_BROKEN, "LR01", "EV04", "FI01"),
        # A split draws its images in a random order, so that only what trains on all images reads them class by class.
        planted=_fixed("train.shuffle=false", "protocol.evaluate_on=test", "data.validation=none"),
        variant="by class",
        is_declared=True,
    ),
    Kind(
        name="seed after the split",
        codes=("EV06",),
        planted=_fixed("protocol.seed_after_split=true"),
        is_declared=True,
    ),
    Kind(
        name="loss divided twice",
        codes=("EV07",),
        planted=_fixed("protocol.loss_divided_twice=true"),
        is_declared=True,
    ),
    Kind(
        name="loss of the last batch",
        codes=("EV08",),
        planted=_fixed("protocol.last_batch_loss=true"),
        is_declared=True,
    ),
    Kind(
        name="validation images that train",
        codes=("DA01",),
        planted=_fixed("data.validation=none"),
        variant="validation repeats",
    ),
    Kind(name="test images that train", codes=("DA02",), planted=_fixed(), variant="test repeats"),
    Kind(name="test set is the training set", codes=("DA02",), planted=_fixed(), variant="test is training"),
    Kind(
        name="evaluation normalised otherwise",
        codes=("DA03",),
        planted=_fixed("data.validation=none"),
        variant="darker",
        follows=("FI01", "RE04"),
    ),
    Kind(name="a class with few images", codes=("DA04",), follows=("FI03",), planted=_fixed(), variant="one scarce"),
)

_TRAINING_FAILS: Final = (*_BROKEN, "LR01", "LR02")

MILD: Final = (
    Kind(
        name="learning rate ten times too high",
        codes=("LR01",),
        follows=_BROKEN,
        planted=_lr_times(10),
        is_mild=True,
    ),
    Kind(
        name="learning rate thirty times too low",
        codes=("LR02",),
        follows=("FI02", "SI05"),
        planted=_lr_times(1 / 30),
        is_mild=True,
    ),
    Kind(
        name="momentum 0.97",
        codes=("LR04",),
        follows=(*_BROKEN, "LR01"),
        planted=_fixed("train.momentum=0.97"),
        suits=_is_sgd,
        is_mild=True,
    ),
    Kind(
        name="batch of 192",
        codes=("ST01",),
        follows=("FI02", "LR02"),
        planted=_fixed("train.batch_size=192"),
        is_mild=True,
    ),
    Kind(
        name="schedule drops by 0.4 an epoch",
        codes=("ST02",),
        follows=("FI02",),
        planted=_fixed(
            "train.schedule=step", "train.step_epochs=1", "train.gamma=0.4", "train.epochs=8", "data.train_limit=1500"
        ),
        is_mild=True,
    ),
    Kind(
        name="dropout of 0.25 everywhere",
        codes=("RE01",),
        follows=("FI02", "RE02", "RE03"),
        planted=_net(_layers(_dropout_after_activations(0.25))),
        is_mild=True,
    ),
    Kind(
        name="augmentation somewhat strong",
        codes=("RE05",),
        follows=("FI02",),
        planted=_fixed("augment.rotate=50", "augment.translate=0.2"),
        is_mild=True,
    ),
    Kind(
        name="weight decay of 0.03",
        codes=("RE06",),
        follows=_TRAINING_FAILS,
        planted=_fixed("train.weight_decay=0.03"),
        suits=_is_sgd,
        is_mild=True,
    ),
    Kind(
        name="a thousand images, many epochs",
        codes=("RE04", "FI01"),
        planted=_fixed("augment.rotate=0", "augment.translate=0", "data.train_limit=1000", "train.epochs=12"),
        is_mild=True,
    ),
    Kind(
        name="a layer of half the width",
        codes=("NE07",),
        planted=_net(_middle_convolution(lambda channels: channels // 2)),
        suits=_is_deep_chain,
        is_mild=True,
    ),
)

KINDS: Final = (*STRONG, *MILD)
