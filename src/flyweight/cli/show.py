"""`flyweight show`: the cost of a net or a recipe, layer by layer, and edits that fit it to a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flyweight.cli.output import Flag, OutputFormat, print_rows, say, say_json, terminal_width
from flyweight.cli.settings import TrustCode, is_named
from flyweight.errors import UsageError
from flyweight.model.arithmetic import Shape
from flyweight.tables import WIDTH


def show(
    net: Annotated[str | None, Parameter(show_default=False)] = None,
    /,
    *,
    layers: Annotated[bool, Flag] = False,
    input: Annotated[str | None, Parameter(name="--input", show_default=False)] = None,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    trust_code: TrustCode = False,
    budget: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    output: OutputFormat | None = None,
) -> None:
    """Print the layers of a net with their cost, and edits that bring it under a budget.

    A net is its layers with spaces between them. c8: convolution with 8 channels, 3x3; c8/5s2p1nb: 5x5, stride 2,
    padding 1, no bias; d2: dilation, g4: groups. dw: depthwise convolution; fc10: linear with 10 outputs. bn, bn0:
    batch norm with and without trained values. m2, a2: max and average pool 2x2; gmp, gap: over the whole image; amp4,
    aap4: to 4x4. r (or relu), r6, leaky.1, prelu, elu, gelu, silu, hswish, tanh, sigmoid: activations. do.1,
    sdo.1: dropout of values and of channels. se4: squeeze-and-excitation. flat: flatten; ls: log-softmax. 2(...): a
    block twice; 2@(...): twice with the same weights; +(...): residual, +(...|...) with a shortcut; unused(...): never
    called.

    $ flyweight show "c8nb bn r m2 c16nb bn r gap flat fc10" --budget 2k

    $ flyweight show own/20k-fast --md

    $ flyweight show "c16 r m2 flat fc10" --budget 20k --budget macs=1M --json

    Parameters
    ----------
    layers
        List all layers of the notation instead.
    net
        A net in notation, your own module as FILE:CLASS, the name of a recipe, a recipe file, or an ONNX file.
    input
        Shape of the images, CHANNELSxHEIGHTxWIDTH. Default: that of the recipe's data, or else 1x28x28.
    changes
        Change one key of the recipe, as in train.lr=0.05; may be repeated.
    trust_code
        Run the file of an own module that the recipe names, and remember its hash. One that you type is run anyway.
    budget
        Compare with a budget: 20k (parameters), or macs=, activation=, flash=, as in macs=1M; may be repeated.
    """
    from flyweight.experiment.resolved import source_of
    from flyweight.export.foreign import count_onnx
    from flyweight.model import table
    from flyweight.model.budget import Budget, parse_budget
    from flyweight.model.count import count
    from flyweight.model.edits import edits
    from flyweight.model.notation import MEANINGS, is_own_module
    from flyweight.recipe import dumps, is_recipe, load, protocol_words

    if layers:
        rows = [{"layer": layer, "meaning": meaning} for layer, meaning in MEANINGS.items()]
        print_rows(rows, output or OutputFormat(), wraps=True)
        return
    if net is None:
        raise UsageError(
            "NET is missing; as in flyweight show 'c8 r m2 flat fc10', or --layers for what a net can have."
        )
    trusted = trust_code or is_named(net, changes)
    resolved, differences, limits, shape = "", list[str](), parse_budget(budget), _shape(input)
    is_onnx = net.endswith(".onnx")
    if is_onnx:
        if changes or shape is not None:
            raise UsageError("--set and --input change a recipe or a net in notation; an ONNX file has its own shapes.")
    elif is_recipe(net):
        recipe = load(net, overrides=changes)
        shape = shape or source_of(recipe).sizes.shape
        limits = Budget(**recipe.budget.model_dump()).with_limits(limits)
        net, resolved = recipe.model.net, dumps(recipe)
        differences = [f"  {sentence}" for sentence in protocol_words(recipe)]
    elif changes:
        raise UsageError(f"--set changes a recipe, and {net!r} is a net; change the text of the net instead.")
    cost = count_onnx(Path(net)) if is_onnx else count(net, shape or (1, 28, 28), trust_code=trusted)
    helpful = () if is_onnx or is_own_module(net) else edits(net, cost.input_shape, limits)
    match (output or OutputFormat()).name:
        case "json":
            say_json(table.cost_values(cost, limits, helpful) | ({"recipe": resolved} if resolved else {}))
        case "md":
            say(table.cost_markdown(cost, limits, helpful))
        case "csv":
            say(table.cost_csv(cost, limits))
        case _:
            say(table.cost_text(cost, limits, helpful, width=min(WIDTH, terminal_width())))
            if differences:
                say("\n".join(["\ndifferences from clean evaluation:", *differences]))
            if resolved:
                say("\nresolved recipe:\n\n" + resolved)


def _shape(text: str | None) -> Shape | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--input must be CHANNELSxHEIGHTxWIDTH, as in 1x28x28, found {text!r}.")
    channels, height, width = map(int, sides)
    return channels, height, width
