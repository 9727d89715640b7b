"""A recipe: everything that decides what a run does, but its seed. A value: frozen, comparable, TOML in and out.

It knows neither torch nor whether its net can be built or fits its budget; `experiment.plan` tells.
"""

from __future__ import annotations

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
    """20k and 1.2M as whole numbers; whatever is no such count is left for the type check to refuse."""
    match = _SHORT_COUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    count = Decimal(match[1]) * _THOUSANDS[match[2].lower()]
    return int(count) if count == int(count) else value


def _off(value: Any) -> Any:
    """TOML has no null: the word none takes back what a parent recipe set."""
    return None if value == "none" else value


def _without_minus_zero(value: float) -> float:
    """Recipes that are equal must hash alike, and -0.0 equals 0.0."""
    return value + 0.0


_Count = BeforeValidator(_count)
_Off = BeforeValidator(_off)

Whole = Annotated[int, Strict(), _Count]
MaybeWhole = Annotated[int | None, Strict(), _Count, _Off]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False), AfterValidator(_without_minus_zero)]
MaybeNumber = Annotated[float | None, Strict(), Field(allow_inf_nan=False), _Off]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSection(_Value):
    """The net."""

    net: Text = Field(
        min_length=1, description='The net as text (docs/notation.md), or "module:Class" of your own `nn.Module`.'
    )


class DataSection(_Value):
    """The images, and what is held out of them."""

    name: Text = Field(default="mnist", min_length=1, description="A built-in image set, or a path to your own.")
    split_seed: Whole = Field(default=0, ge=0, description="The seed of the split into training and validation.")
    validation: MaybeWhole = Field(
        default=None,
        ge=1,
        description="Images held out of the training images to choose by; none is 5,000, or a sixth of a small set.",
    )
    resize: MaybeWhole = Field(
        default=None, ge=1, le=1024, description="Side of the square, in pixels, that images are resized to."
    )
    train_limit: MaybeWhole = Field(
        default=None, ge=1, description="Use only the first so many images of the training split: for quick tries."
    )


class AugmentSection(_Value):
    """How training images are varied; evaluation images never are."""

    rotate: Number = Field(default=0.0, ge=0, le=180, description="Largest rotation either way, in degrees.")
    translate: Number = Field(default=0.0, ge=0, le=1, description="Largest shift, as a fraction of the side.")
    whole_pixels: Flag = Field(default=False, description="Shift by whole pixels only.")
    scale: Number = Field(
        default=0.0, ge=0, lt=1, description="Largest change of size, as a fraction: 0.1 is 90 % to 110 %."
    )
    shear: Number = Field(default=0.0, ge=0, lt=90, description="Largest shear either way, in degrees.")
    crop_size: MaybeWhole = Field(
        default=None, ge=1, description="Side, in pixels, of the centre that is cut out and resized back."
    )
    crop_probability: Number = Field(default=0.0, ge=0, le=1, description="Share of the images that are cropped.")
    elastic: Number = Field(
        default=0.0, ge=0, description="Elastic distortion: root mean square of the displacement, in pixels."
    )
    elastic_smoothness: Number = Field(
        default=4.0, gt=0, description="Standard deviation, in pixels, of the Gaussian that smooths the distortion."
    )
    erase_probability: Number = Field(
        default=0.0, ge=0, le=1, description="Share of the images from which one square is erased."
    )
    erase_size: Number = Field(default=0.25, ge=0, le=1, description="Side of that square, as a fraction of the side.")
    interpolation: Literal["bilinear", "nearest"] = Field(
        default="bilinear", description="How a warped image is read between the pixels."
    )
    probability: Number = Field(
        default=1.0, ge=0, le=1, description="Share of the images that get the affine and elastic warp."
    )


class TrainSection(_Value):
    """How the net learns."""

    epochs: Whole = Field(default=5, ge=1, description="Passes over the training images.")
    batch_size: Whole = Field(default=64, ge=1, description="Images a step.")
    optimizer: OptimizerName = Field(default="sgd", description="The optimizer.")
    lr: Number = Field(default=0.1, gt=0, description="The highest learning rate.")
    momentum: Number = Field(default=0.9, ge=0, lt=1, description="Momentum of sgd; beta1 of adam and adamw.")
    nesterov: Flag = Field(default=True, description="Nesterov's momentum, for sgd with momentum.")
    beta2: Number = Field(default=0.999, ge=0, lt=1, description="Second beta of adam and adamw.")
    weight_decay: Number = Field(default=0.0, ge=0, description="Weight decay, as the optimizer defines it.")
    weight_decay_on: Literal["all", "weights"] = Field(
        default="weights", description="What decays; weights are tensors of 2 and more dimensions, no bias, no norm."
    )
    schedule: Literal["constant", "step", "cosine", "one-cycle", "triangular"] = Field(
        default="one-cycle", description="How the learning rate moves over the run."
    )
    warmup: Number = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Fraction of all steps on the way up: where one-cycle and triangular peak, cosine's warm-up.",
    )
    step_epochs: Whole = Field(default=1, ge=1, description="Epochs between two drops of the step schedule.")
    gamma: Number = Field(default=0.1, gt=0, le=1, description="Factor of each drop of the step schedule.")
    final_lr: Number = Field(
        default=0.0, ge=0, le=1, description="Learning rate at the end, as a fraction of `train.lr`."
    )
    label_smoothing: Number = Field(
        default=0.0, ge=0, lt=1, description="Fraction of each label that is spread over all classes."
    )
    ema: Number = Field(
        default=0.0, ge=0, lt=1, description="Decay per step of the moving average of the weights; 0 is off."
    )
    loss_reduction: Literal["mean", "sum"] = Field(default="mean", description="How a batch's losses become one.")
    shuffle: Flag = Field(default=True, description="A new order of the training images every epoch.")
    keep: Literal["best", "last"] = Field(
        default="best", description="The epoch whose weights are the result; best is by validation."
    )
    patience: MaybeWhole = Field(
        default=None, ge=1, description="Stop after so many epochs without a better validation accuracy."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Numbers the step computes in; bfloat16 where the device has it, else float32."
    )
    eval_batch_size: Whole = Field(default=1000, ge=1, description="Images a step when nothing is learnt.")


class BudgetSection(_Value):
    """What the run may cost. A limit is inclusive; over it nothing is trained."""

    params: MaybeWhole = Field(default=None, ge=1, description="Trainable values that forward uses.")
    macs: MaybeWhole = Field(default=None, ge=1, description="Multiplications by weights for one image.")
    activation: MaybeWhole = Field(default=None, ge=1, description="Bytes of activations at the worst moment, float32.")
    flash: MaybeWhole = Field(default=None, ge=1, description="Bytes of parameters and buffers, float32.")
    epochs: MaybeWhole = Field(default=None, ge=1, description="Passes over the training images.")
    seconds: MaybeNumber = Field(default=None, gt=0, description="Seconds of training.")


class TargetSection(_Value):
    """What the run is for."""

    accuracy: MaybeNumber = Field(
        default=None, gt=0, le=1, description="Validation accuracy to reach, as a fraction: 0.994 is 99.4 %."
    )
    stop: Flag = Field(default=False, description="End the run at the epoch that reaches it.")


class ProtocolSection(_Value):
    """What an experiment that is replayed measured otherwise; all of it is off for an honest one.

    It changes what is told beside the honest figures, and who trains on what; docs/recipes.md has each with the reason
    why it misleads.
    """

    evaluate_on: Literal["validation", "test", "train"] = Field(
        default="validation",
        description="The images that epochs are judged on; with test or train nothing is held out: all images train.",
    )
    evaluate_augmented: Flag = Field(
        default=False, description="Tell what validation and test images give when they are augmented as in training."
    )
    shared_transform: Literal["none", "training", "evaluation"] = Field(
        default="none",
        description="One transform for both parts of the split: training augments the validation images, too; "
        "evaluation takes the augmentation from the training images.",
    )
    test_every_epoch: Flag = Field(
        default=False, description="Measure the test images after every epoch, so that one can be picked by them."
    )
    seed_after_split: Flag = Field(
        default=False, description="Each seed splits anew: the seed was set when the split had been drawn."
    )
    last_batch_loss: Flag = Field(
        default=False, description="Tell the loss of an epoch's last batch for the training loss of the epoch."
    )
    loss_divided_twice: Flag = Field(
        default=False, description="Tell evaluation losses as the sum of the batch means over the number of images."
    )


class Recipe(_Value):
    """Everything that decides what a run does, but its seed.

    >>> Recipe(name="small", model=ModelSection(net="c8 r m2 flat fc10")).train.epochs
    5

    Raises:
        RecipeError: with every fault at once.
    """

    name: Text = Field(min_length=1, description="What the runs are called; a file without it is called by its name.")
    description: Text = Field(default="", description="What the recipe is for, in one line.")
    model: ModelSection
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    train: TrainSection = TrainSection()
    budget: BudgetSection = BudgetSection()
    target: TargetSection = TargetSection()
    protocol: ProtocolSection = ProtocolSection()

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
            # A second look without the faulty values, so that contradictions among the sound ones are told as well.
            recipe = handler(_sound_part(data, found))
        faulty = {fault.location for fault in faults}
        faults += [fault for fault, involved in contradictions(recipe) if not faulty & involved]
        if faults:
            raise error_for(faults, origins)
        return recipe


def keys() -> tuple[Key, ...]:
    """Every key of a recipe with its default, what it accepts, and what it means."""
    return keys_of(Recipe)


def contradictions(recipe: Recipe) -> list[tuple[Fault, set[Location]]]:
    """Values that are sound alone and cannot be meant together, each with the keys involved."""
    augment, train, target, protocol = recipe.augment, recipe.train, recipe.target, recipe.protocol
    found = []
    if augment.crop_probability > 0 and augment.crop_size is None:
        found.append(
            _contradiction(
                "augment.crop_probability needs augment.crop_size, the side in pixels that is cut out; give it, or 0.",
                "augment.crop_probability",
                "augment.crop_size",
            )
        )
    if recipe.data.resize is not None and augment.crop_size is not None and augment.crop_size > recipe.data.resize:
        found.append(
            _contradiction(
                f"augment.crop_size must be at most data.resize, {recipe.data.resize}, found {augment.crop_size}.",
                "augment.crop_size",
                "data.resize",
            )
        )
    if train.warmup == 1 and train.schedule not in ("constant", "step"):
        found.append(
            _contradiction(
                f"train.warmup must be below 1 for the {train.schedule} schedule, which would never come down.",
                "train.warmup",
                "train.schedule",
            )
        )
    if target.stop and target.accuracy is None:
        found.append(
            _contradiction(
                "target.stop needs target.accuracy, such as 0.994; give it, or set stop to false.",
                "target.stop",
                "target.accuracy",
            )
        )
    if protocol.evaluate_on != "validation" and protocol.shared_transform != "none":
        found.append(
            _contradiction(
                "protocol.shared_transform is about the two parts of a split, and protocol.evaluate_on "
                f'{protocol.evaluate_on!r} makes none; give evaluate_on "validation", or shared_transform "none".',
                "protocol.shared_transform",
                "protocol.evaluate_on",
            )
        )
    if protocol.evaluate_on != "validation" and recipe.data.validation is not None:
        found.append(
            _contradiction(
                f"data.validation holds images out, and protocol.evaluate_on {protocol.evaluate_on!r} trains on all; "
                'give evaluate_on "validation", or leave data.validation out.',
                "data.validation",
                "protocol.evaluate_on",
            )
        )
    return found


def _contradiction(message: str, *involved: str) -> tuple[Fault, set[Location]]:
    locations = [tuple(key.split(".")) for key in involved]
    return Fault(location=locations[0], message=message), set(locations)


def _sound_part(data: Any, faults: list[Fault]) -> dict[str, Any]:
    """`data` without its faulty values, completed so that it validates."""
    sound = {key: dict(value) if isinstance(value, dict) else value for key, value in dict(data).items()}
    for fault in faults:
        _remove(sound, fault.location)
    sound.setdefault("name", "unnamed")
    model = sound.setdefault("model", {})
    if isinstance(model, dict):
        model.setdefault("net", "flat fc10")
    return sound


def _remove(values: dict[str, Any], location: Location) -> None:
    *around, last = location
    for part in around:
        values = values.get(part, {})
    values.pop(last, None)
