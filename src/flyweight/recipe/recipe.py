"""A recipe: everything that decides what a run does, but its seed. A value: frozen, comparable, TOML in and out.

It imports no torch. Whether its net can be built and fits its budget is the question of `experiment.plan`.
"""

from __future__ import annotations

import html
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from flyweight.errors import RecipeError
from flyweight.recipe.faults import Fault, Location, Origins, error_for, faults_of, show
from flyweight.recipe.keys import Key, keys_of
from flyweight.recipe.optimizers import OptimizerName

_SHORT_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kKmM])")
_THOUSANDS = {"k": 1_000, "m": 1_000_000}


def _count(value: Any) -> Any:
    """20k and 1.2M as whole numbers; the type check refuses what is no such count."""
    match = _SHORT_COUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    count = Decimal(match[1]) * _THOUSANDS[match[2].lower()]
    return int(count) if count == int(count) else value


def _off(value: Any) -> Any:
    """TOML has no null: the word none removes what a parent recipe set."""
    return None if value == "none" else value


def _without_minus_zero(value: float) -> float:
    """Recipes that are equal must hash alike, and -0.0 equals 0.0."""
    return value + 0.0


_Count = BeforeValidator(_count)
_Off = BeforeValidator(_off)

Whole = Annotated[int, Strict(), _Count]
Count = Annotated[Whole, Field(ge=1)]
MaybeCount = Annotated[int | None, Strict(), Field(ge=1), _Count, _Off]
MaybeWhole = Annotated[int | None, Strict(), Field(ge=0), _Count, _Off]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False), AfterValidator(_without_minus_zero)]
Share = Annotated[Number, Field(ge=0, le=1)]
PartialShare = Annotated[Number, Field(ge=0, lt=1)]
MaybeByte = Annotated[int | None, Strict(), Field(ge=0, le=255), _Off]
MaybeText = Annotated[str | None, Strict(), Field(min_length=1), _Off]
MaybeNumber = Annotated[float | None, Strict(), Field(gt=0, allow_inf_nan=False), _Off]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSection(_Value):
    """The net."""

    net: Text = Field(
        min_length=1, description='The net as text (docs/notation.md), or "module:Class" of your own `nn.Module`.'
    )
    start: MaybeText = Field(
        None,
        description="A file of weights (.safetensors) to start from, as of `train --from RUN`; none: new ones.",
    )


class DataSection(_Value):
    """The images, and what is held out of them."""

    name: Text = Field("mnist", min_length=1, description="A built-in image set, or a path to your own.")
    split_seed: Whole = Field(0, ge=0, description="The seed of the split into training and validation.")
    validation: MaybeWhole = Field(
        None,
        description="Training images held out for validation; none is 5,000, or a sixth of a small set. 0 trains on "
        "all of them, for a final net whose settings were chosen before.",
    )
    resize: MaybeCount = Field(None, le=1024, description="Side of the square, in pixels, that images are resized to.")
    fit: Literal["stretch", "pad", "crop"] = Field(
        "stretch", description="How data.resize treats images that are not square: squeezed, with bars, or cut."
    )
    train_limit: MaybeCount = Field(
        None, description="Train on the first N images of the training split only: for quick tries."
    )


class AugmentSection(_Value):
    """How training images are varied; evaluation images never are."""

    rotate: Number = Field(0.0, ge=0, le=180, description="Largest rotation either way, in degrees.")
    translate: Share = Field(0.0, description="Largest shift, as a fraction of the side.")
    whole_pixels: Flag = Field(False, description="Shift by whole pixels only.")
    scale: PartialShare = Field(0.0, description="Largest change of size, as a fraction: 0.1 is 90 % to 110 %.")
    shear: Number = Field(0.0, ge=0, lt=90, description="Largest shear either way, in degrees.")
    crop_size: MaybeCount = Field(None, description="Side, in pixels, of the centre that is cut out and resized back.")
    crop_probability: Share = Field(0.0, description="Share of the images that are cropped.")
    elastic: Number = Field(
        0.0, ge=0, description="Elastic distortion: root mean square of the displacement, in pixels."
    )
    elastic_smoothness: Number = Field(
        4.0, gt=0, le=64, description="Standard deviation, in pixels, of the Gaussian that smooths the distortion."
    )
    flip_probability: Share = Field(0.0, description="Share of the images that are mirrored left to right.")
    brightness: PartialShare = Field(
        0.0, description="Largest change of brightness, as a fraction: 0.2 is 80 % to 120 %."
    )
    erase_probability: Share = Field(0.0, description="Share of the images from which one square is erased.")
    erase_size: Share = Field(0.25, description="Side of that square, as a fraction of the side.")
    interpolation: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="How a warped image is read between the pixels."
    )
    fill: MaybeByte = Field(
        None,
        description="Value, 0 to 255, of what a warp or an erased square brings in; "
        "none is the background of the set: for each channel the median of the images' borders.",
    )
    probability: Share = Field(1.0, description="Share of the images that get the affine and elastic warp.")


class TrainSection(_Value):
    """How the net learns."""

    epochs: Count = Field(5, description="Passes over the training images.")
    batch_size: Count = Field(64, description="Images in each step.")
    optimizer: OptimizerName = Field("sgd", description="The optimizer.")
    lr: Number = Field(0.1, gt=0, description="The highest learning rate.")
    momentum: PartialShare = Field(0.9, description="Momentum of sgd; beta1 of adam and adamw.")
    nesterov: Flag = Field(True, description="Nesterov's momentum, for sgd with momentum.")
    beta2: PartialShare = Field(0.999, description="Second beta of adam and adamw.")
    weight_decay: Number = Field(0.0, ge=0, description="Weight decay, as the optimizer defines it.")
    weight_decay_on: Literal["all", "weights"] = Field(
        "weights", description="What decays; weights are tensors of 2 and more dimensions, no bias, no norm."
    )
    schedule: Literal["constant", "step", "cosine", "one-cycle", "triangular"] = Field(
        "one-cycle", description="How the learning rate changes over the run."
    )
    warmup: Share = Field(
        0.2,
        description="Fraction of all steps in which the rate rises (one-cycle, triangular, and cosine's warm-up).",
    )
    step_epochs: Count = Field(1, description="Epochs between two drops of the step schedule.")
    gamma: Number = Field(0.1, gt=0, le=1, description="Factor of each drop of the step schedule.")
    final_lr: Share = Field(0.0, description="Learning rate at the end, as a fraction of `train.lr`.")
    label_smoothing: PartialShare = Field(0.0, description="Fraction of each label that is spread over all classes.")
    ema: PartialShare = Field(0.0, description="Decay per step of the moving average of the weights; 0 is off.")
    loss_reduction: Literal["mean", "sum"] = Field(
        "mean", description="Whether the losses of a batch are averaged or added."
    )
    shuffle: Flag = Field(True, description="A new order of the training images every epoch.")
    keep: Literal["best", "last"] = Field(
        "best", description="The epoch whose weights are the result; best is by validation."
    )
    patience: MaybeCount = Field(None, description="Stop after N epochs without a better validation accuracy.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Numbers the step computes in; bfloat16 where the device has it, else float32."
    )
    eval_batch_size: Count = Field(1000, description="Images in each step of an evaluation.")


class BudgetSection(_Value):
    """What the run may cost. A limit is inclusive; above it nothing is trained."""

    params: MaybeCount = Field(None, description="Trainable values that forward uses.")
    macs: MaybeCount = Field(None, description="Multiplications by weights for one image.")
    activation: MaybeCount = Field(None, description="Largest number of bytes of activations at one time, float32.")
    flash: MaybeCount = Field(None, description="Bytes of parameters and buffers, float32.")
    epochs: MaybeCount = Field(None, description="Passes over the training images.")
    seconds: MaybeNumber = Field(None, description="Seconds of training.")


class TargetSection(_Value):
    """What the run is for."""

    accuracy: MaybeNumber = Field(
        None, le=1, description="Validation accuracy to reach, as a fraction: 0.994 is 99.4 %."
    )
    stop: Flag = Field(False, description="End the run at the epoch that reaches it.")


class ProtocolSection(_Value):
    """How a reproduced experiment was measured where it differs from a clean evaluation; all off by default.

    It adds reported metrics to the clean ones, and can change the images that train; docs/recipes.md says why each
    switch misleads.
    """

    evaluate_on: Literal["validation", "test", "train"] = Field(
        "validation",
        description="Images that each epoch is evaluated on; with test or train nothing is held out: all images train.",
    )
    evaluate_augmented: Flag = Field(
        False, description="Report metrics of validation and test images that are augmented as in training."
    )
    shared_transform: Literal["none", "training", "evaluation"] = Field(
        "none",
        description="One transform for both parts of the split: training augments the validation images, too; "
        "evaluation takes the augmentation from the training images.",
    )
    test_every_epoch: Flag = Field(
        False,
        description="Evaluate on the test images after every epoch, so that the best epoch can be chosen by them.",
    )
    seed_after_split: Flag = Field(
        False, description="Each seed has its own split, as when the seed is set after the split."
    )
    last_batch_loss: Flag = Field(
        False, description="Report the loss of the last batch as the training loss of the epoch."
    )
    loss_divided_twice: Flag = Field(
        False, description="Report evaluation losses as the sum of the batch means divided by the number of images."
    )


class Recipe(_Value):
    """Everything that decides what a run does, but its seed.

    >>> Recipe(name="small", model=ModelSection(net="c8 r m2 flat fc10")).train.epochs
    5

    Raises:
        RecipeError: with every fault at once.
    """

    name: Text = Field(min_length=1, description="Name of the runs; the default is the name of the file.")
    description: Text = Field(default="", description="What the recipe is for, in one line.")
    model: ModelSection
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    train: TrainSection = TrainSection()
    budget: BudgetSection = BudgetSection()
    target: TargetSection = TargetSection()
    protocol: ProtocolSection = ProtocolSection()

    def _repr_html_(self) -> str:
        """What a notebook shows: its name, and each key that is not at its default."""
        sections = self.model_dump(exclude_defaults=True, exclude={"name", "description"})
        lines = [f"{section}.{key} = {value!r}" for section, keys in sections.items() for key, value in keys.items()]
        described = f"<p>{html.escape(self.description)}</p>" if self.description else ""
        return f"<p><b>{html.escape(self.name)}</b></p>{described}<pre>{html.escape(chr(10).join(lines))}</pre>"

    @model_validator(mode="wrap")
    @classmethod
    def _all_faults_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        origins = info.context if isinstance(info.context, Origins) else Origins()
        if not isinstance(data, dict | cls):
            raise RecipeError(f"a recipe must be a table of keys, found {show(data)}.")
        faults = list(origins.faults)
        try:
            recipe = handler(data)
        except ValidationError as error:
            found = faults_of(error, cls)
            faults += found
            # A second check without the faulty values also finds contradictions among the valid ones.
            recipe = handler(_valid_part(data, found))
        faulty = {fault.location for fault in faults}
        faults += [fault for fault, involved in contradictions(recipe) if not faulty & involved]
        if faults:
            raise error_for(faults, origins)
        return recipe


def keys() -> tuple[Key, ...]:
    """Every key of a recipe with its default, what it accepts, and what it means."""
    return keys_of(Recipe)


def contradictions(recipe: Recipe) -> list[tuple[Fault, set[Location]]]:
    """Values that are valid alone and contradict each other, each with the keys involved."""
    augment, data, train, target, protocol = recipe.augment, recipe.data, recipe.train, recipe.target, recipe.protocol
    is_all_training, judged = protocol.evaluate_on != "validation", repr(protocol.evaluate_on)
    table = (
        (
            augment.crop_probability > 0 and augment.crop_size is None,
            ("augment.crop_probability", "augment.crop_size"),
            "augment.crop_probability needs augment.crop_size, the side in pixels that is cut out; give it, or 0.",
        ),
        (
            None not in (data.resize, augment.crop_size) and (augment.crop_size or 0) > (data.resize or 0),
            ("augment.crop_size", "data.resize"),
            f"augment.crop_size must be at most data.resize, {data.resize}, found {augment.crop_size}.",
        ),
        (
            train.warmup == 1 and train.schedule not in ("constant", "step"),
            ("train.warmup", "train.schedule"),
            f"train.warmup must be below 1 for the {train.schedule} schedule, which would never come down.",
        ),
        (
            target.stop and target.accuracy is None,
            ("target.stop", "target.accuracy"),
            "target.stop needs target.accuracy, such as 0.994; give it, or set stop to false.",
        ),
        (
            is_all_training and protocol.shared_transform != "none",
            ("protocol.shared_transform", "protocol.evaluate_on"),
            f"protocol.shared_transform needs a split, and protocol.evaluate_on {judged} makes none;"
            ' give evaluate_on "validation", or shared_transform "none".',
        ),
        (
            is_all_training and bool(data.validation),
            ("data.validation", "protocol.evaluate_on"),
            f"data.validation holds images out, and protocol.evaluate_on {judged} trains on all;"
            ' give evaluate_on "validation", or leave data.validation out.',
        ),
        (
            data.validation == 0 and train.keep != "last",
            ("train.keep", "data.validation"),
            "train.keep must be 'last' with data.validation 0: without validation images there is no best epoch.",
        ),
        (
            data.validation == 0 and train.patience is not None,
            ("train.patience", "data.validation"),
            "train.patience waits for a better validation accuracy, and data.validation 0 gives none; leave it out.",
        ),
        (
            data.validation == 0 and target.stop,
            ("target.stop", "data.validation"),
            "target.stop needs validation images, and data.validation is 0; set stop to false, or hold images out.",
        ),
        (
            data.validation == 0 and protocol != ProtocolSection(),
            ("protocol.evaluate_on", "data.validation"),
            "data.validation 0 trains on all images without a validation, which no protocol of a document does; leave "
            "the section protocol out.",
        ),
    )
    return [_contradiction(message, keys) for is_wrong, keys, message in table if is_wrong]


def _contradiction(message: str, keys: tuple[str, ...]) -> tuple[Fault, set[Location]]:
    locations = [tuple(key.split(".")) for key in keys]
    return Fault(location=locations[0], message=message), set(locations)


def _valid_part(data: Any, faults: list[Fault]) -> dict[str, Any]:
    """`data` without its faulty values, completed so that it validates."""
    valid = {key: dict(value) if isinstance(value, dict) else value for key, value in dict(data).items()}
    for fault in faults:
        _remove(valid, fault.location)
    valid.setdefault("name", "unnamed")
    model = valid.setdefault("model", {})
    if isinstance(model, dict):
        model.setdefault("net", "flat fc10")
    return valid


def _remove(values: dict[str, Any], location: Location) -> None:
    *around, last = location
    for part in around:
        values = values.get(part, {})
    values.pop(last, None)
