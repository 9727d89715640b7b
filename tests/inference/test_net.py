"""A trained net that is loaded gives what its run measured, whatever way pictures and weights are handed over."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

import flyweight
from flyweight.errors import DataError, FlyweightError, UsageError
from flyweight.experiment.run import run
from flyweight.inference.net import TrainedNet, from_run_folder, load
from flyweight.inference.pictures import picture_files, pictures
from flyweight.inference.predict import Unread
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from tiny import TEST, tiny_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the images of the run, and its home."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store.open(home=folder / "home")


@pytest.fixture(scope="module")
def record(folder: Path, store: Store) -> RunRecord:
    return run(tiny_recipe(folder), seed=0, store=store, threads=1)


@pytest.fixture(scope="module")
def images(folder: Path, record: RunRecord) -> np.ndarray:
    """(N, 1, 28, 28), the test images of the run."""
    assert record.status == "finished"
    with np.load(folder / "digits.npz") as arrays:
        return arrays["x_test"][:, None]


@pytest.fixture
def weights(store: Store, record: RunRecord, tmp_path: Path) -> Path:
    """A copy of the run's file of weights, without its run."""
    return shutil.copy(store.folder(record.id).file("weights"), tmp_path / "mine.safetensors")


def of_handwriting(net: TrainedNet) -> TrainedNet:
    return TrainedNet(**{**vars(net), "data": "mnist"})


def test_a_run_is_loaded_with_the_figures_that_it_has(store, record, images):
    """By its id, as the newest and as the best: the probabilities of its test images, to the bit."""
    with np.load(store.folder(record.id).file("predictions")) as kept:
        expected = kept["test_probabilities"]

    for selector in (record.id, record.id[:12], "@latest", "@best"):
        net = load(selector, store=store)
        assert len(images) == TEST
        assert np.array_equal(net.probabilities(images), expected)
        assert net.class_names == tuple("0123456789")
        assert net.input_shape == (1, 28, 28)


def test_a_file_of_weights_is_enough(weights, store, record, images):
    """Copied elsewhere, given as a path or as its text, it is the net of its run."""
    of_run = load(record.id, store=store)

    for source in (weights, str(weights)):
        assert np.array_equal(load(source).probabilities(images), of_run.probabilities(images))


def test_many_images_are_the_same_in_portions(store, record, images, monkeypatch):
    """Memory does not grow with their number, and their order stays."""
    net = load(record.id, store=store)
    whole = net.probabilities(images)

    monkeypatch.setattr("flyweight.inference.net.BATCH_SIZE", 7)

    assert np.allclose(net.probabilities(images), whole, atol=1e-6)


def test_the_module_is_used_as_any_other(weights, images):
    """In evaluation mode, with the names of the file; the random state of whoever loads it is left alone."""
    before = torch.get_rng_state()
    net = load(weights)

    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(net.module, nn.Module)
    assert not any(module.training for module in net.module.modules())
    assert net.module.state_dict().keys() == load_file(weights).keys()
    with torch.inference_mode():
        logits = net.module(net.normalised(torch.from_numpy(images)))
    assert np.array_equal(logits.softmax(1).numpy(), net.probabilities(images))


def kinds(path: Path, digit: np.ndarray) -> dict[str, object]:
    """The same picture in every way that it can be handed over."""
    colour = np.repeat(digit[:, :, None], 3, axis=2)
    return {
        "text": str(path),
        "path": path,
        "bytes": path.read_bytes(),
        "PIL": Image.open(path),
        "PIL in colour": Image.fromarray(colour),
        "(H, W)": digit,
        "(H, W, 1)": digit[:, :, None],
        "(H, W, 3)": colour,
        "(1, H, W)": digit[None],
        "(1, 1, H, W)": digit[None, None],
        "(1, H, W, 1)": digit[None, :, :, None],
        "(1, H, W, 3)": colour[None],
        "(1, 3, H, W)": colour.transpose(2, 0, 1)[None],
        "not contiguous": np.repeat(np.repeat(digit, 2, 0), 2, 1)[::2, ::2],
    }


@pytest.mark.parametrize("data", ["mnist", "digits"])
def test_every_kind_of_picture_gives_the_same(store, record, images, tmp_path, data):
    """To the bit, for nets of handwriting and for others; alone and in a list."""
    net = TrainedNet(**{**vars(load(record.id, store=store)), "data": data})
    digit = images[3, 0]
    Image.fromarray(digit).save(tmp_path / "digit.png")
    given = kinds(tmp_path / "digit.png", digit)
    expected = net.predict(digit)[0]

    assert np.array_equal(expected.seen[0], digit)
    for name, one in given.items():
        for found in (*net.predict(one), *net.predict([one])):
            assert np.array_equal(found.seen, expected.seen), name
            assert {**found.as_dict(), "path": None} == expected.as_dict(), name
            assert found.path == (tmp_path / "digit.png" if name in ("text", "path") else None)
    assert len(net.predict([*given.values(), images[:5]])) == len(given) + 5


def test_a_colour_picture_with_channels_first_is_one_picture():
    """Where its shape is the net's; three grey pictures otherwise."""
    array = np.zeros((3, 32, 32), np.uint8)
    array[0] = 255

    (red,) = pictures(array, (3, 32, 32))
    grey = pictures(array, (1, 32, 32))

    assert red.image.getpixel((0, 0)) == (255, 0, 0)
    assert [one.image.getpixel((0, 0)) for one in grey] == [255, 0, 0]


BAD: dict[str, tuple[object, type[FlyweightError], str]] = {
    "nothing": ([], UsageError, "no pictures given"),
    "floats": (np.zeros((28, 28)), UsageError, "uint8"),
    "a vector": (np.zeros(784, np.uint8), UsageError, r"\(784,\)"),
    "five channels": (np.zeros((2, 5, 28, 28), np.uint8), UsageError, r"\(2, 5, 28, 28\)"),
    "no pixels": (np.zeros((0, 28), np.uint8), FlyweightError, "picture 1"),
    "a number": ([7], UsageError, "picture 1 must be a path"),
    "no file": ("nothing.png", DataError, "nothing.png: no such file"),
    "no image": ([np.zeros((28, 28), np.uint8), b"text"], DataError, "picture 2: must be a picture"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_what_is_no_picture_is_said_in_one_line(store, record, case):
    """Which one it is and what is needed, with the error's documented kind."""
    given, kind, words = case

    with pytest.raises(kind, match=words) as caught:
        load(record.id, store=store).predict(given)

    assert "\n" not in str(caught.value)


def stored(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        return load_file(path), file.metadata()


def without_a_tensor(path: Path) -> None:
    tensors, facts = stored(path)
    save_file({name: tensor for name, tensor in tensors.items() if "conv1" not in name}, path, facts)


def of_another_net(path: Path) -> None:
    tensors, facts = stored(path)
    save_file(tensors, path, {**facts, "net": "c9 r gap flat fc10"})


def of_no_net(path: Path) -> None:
    tensors, facts = stored(path)
    save_file(tensors, path, {**facts, "net": "c9 r what"})


def of_other_code(path: Path) -> None:
    """Loading a file must not import what it names."""
    tensors, facts = stored(path)
    (path.parent / "trap.py").write_text("raise SystemExit('imported')")
    save_file(tensors, path, {**facts, "net": "trap:Net"})


def without_facts(path: Path) -> None:
    save_file(stored(path)[0], path)


def with_a_broken_shape(path: Path) -> None:
    tensors, facts = stored(path)
    save_file(tensors, path, {**facts, "input_shape": "1,28"})


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


DAMAGES = (
    without_a_tensor,
    of_another_net,
    of_no_net,
    of_other_code,
    without_facts,
    with_a_broken_shape,
    cut_off,
    empty,
    gone,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_weights_that_are_not_those_of_a_net_are_refused_in_one_line(weights, monkeypatch, damage: Callable):
    """The file is named, and nothing that it names is imported."""
    monkeypatch.chdir(weights.parent)
    damage(weights)

    with pytest.raises(FlyweightError) as caught:
        load(weights)

    assert str(weights) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 350 + len(str(weights))


FACTS = {
    "input_shape": (
        "",
        "1,28",
        "1,-28,28",
        "0,28,28",
        "1,99999999999,9",
        "1,2.5,28",
        "3,28,28",
        "1," + "9" * 5000 + ",1",
    ),
    "mean": ("", "nan", "inf", "0.1,0.2", "0,1", "x"),
    "std": ("", "nan", "0", "-1", "0.0", "inf", "0.1,0.2"),
    "classes": ("", "[]", "{}", "3", "[1, 2]", '["a"]', "[" * 100_000, '["0", "1"'),
    "net": (
        "",
        " ",
        "c",
        "fc10",
        "os:abort",
        "torch.hub:list",
        "c6" * 100_000,
        "\x1b[2J\u202e",
        "flat fc65536 fc65536 fc10",
    ),
    "ground": ("-1", "256", "x", "9" * 5000),
}


@pytest.mark.parametrize(("fact", "value"), [(fact, value) for fact, values in FACTS.items() for value in values])
def test_crafted_facts_are_refused_in_one_line(weights, fact, value):
    """Whatever they say: nothing is computed, imported or allocated by them."""
    tensors, facts = stored(weights)
    save_file(tensors, weights, {**facts, fact: value})

    with pytest.raises(FlyweightError) as caught:
        load(weights)

    assert caught.value.exit_code in (2, 6)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700 + len(str(weights))


def tensors_that_are_none(tensors: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    name = next(name for name in tensors if "conv1" in name)
    one = tensors[name]
    with_nan = one.copy()
    with_nan.flat[0] = np.nan
    changed = {
        "nan": with_nan,
        "infinite": one * np.inf,
        "truth values": one > 0,
        "another shape": one[:1],
        "flat": one.ravel(),
        "empty": one[:0],
        "of no dimension": np.array(1.0, np.float32),
    }
    return {
        "no tensors": {},
        "one more": {**tensors, "\x1b[2Jmore\u202e" * 100: one},
        "a variance that is nan": {
            key: value * np.nan if "running_var" in key else value for key, value in tensors.items()
        },
        **{what: {**tensors, name: value} for what, value in changed.items()},
    }


def test_crafted_tensors_are_refused_in_one_line(weights):
    """NaN weights too: they would predict "0 (nan %)"."""
    tensors, facts = stored(weights)
    cases = tensors_that_are_none(tensors)

    for what, crafted in cases.items():
        save_file(crafted, weights, facts)
        with pytest.raises(FlyweightError) as caught:
            load(weights)
        assert caught.value.exit_code == 6, what
        assert str(caught.value).isprintable(), what
        assert len(str(caught.value)) < 700 + len(str(weights)), what

    assert len(cases) == 10


def test_a_run_whose_weights_changed_is_refused(store, record, tmp_path):
    """One bit is enough, since the folder has checksums."""
    folder = Path(shutil.copytree(store.folder(record.id).path, tmp_path / "copy"))
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)

    with pytest.raises(DataError, match=r"weights\.safetensors"):
        from_run_folder(RunFolder(path=folder))


def test_a_run_without_a_net_says_so(tmp_path):
    """One that diverged has none."""
    store = Store.open(home=tmp_path / "home")
    diverged = run(tiny_recipe(tmp_path, "train.lr=1e9", "train.epochs=1"), seed=0, store=store, threads=1)

    with pytest.raises(UsageError, match=f"{diverged.id[:12]} has no trained net"):
        load(diverged.id, store=store)


def test_a_net_of_ones_own_is_loaded_from_its_run(tmp_path, monkeypatch):
    """Its code is imported from the current folder, as in training."""
    (tmp_path / "loaded_nets.py").write_text(
        "from torch import nn\n"
        "class Tiny(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(1, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    store = Store.open(home=tmp_path / "home")
    record = run(tiny_recipe(tmp_path, "model.net=loaded_nets:Tiny"), seed=0, store=store, threads=1, trust_code=True)

    net = load(record.id, store=store)

    with np.load(store.folder(record.id).file("predictions")) as kept, np.load("digits.npz") as arrays:
        assert np.allclose(net.probabilities(arrays["x_test"][:, None]), kept["test_probabilities"], atol=1e-6)


def test_the_home_of_the_environment_is_looked_in_where_no_store_is_given(folder, record, monkeypatch, tmp_path):
    """As for every command; the public name is flyweight.load."""
    monkeypatch.setenv("FLYWEIGHT_HOME", str(folder / "home"))
    assert flyweight.load("@latest").class_names == tuple("0123456789")

    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="no run"):
        flyweight.load("@latest")


def test_facts_of_the_file_are_read_as_they_were_written(weights):
    """Mean and spread to the last digit."""
    facts = stored(weights)[1]

    net = load(weights)

    assert (",".join(map(repr, net.mean)), ",".join(map(repr, net.std))) == (facts["mean"], facts["std"])
    assert list(net.class_names) == json.loads(facts["classes"])


def test_a_photo_in_memory_is_turned_as_its_camera_says(store, record, images):
    """Bytes and PIL images have EXIF, too."""
    net = of_handwriting(load(record.id, store=store))
    upright = Image.fromarray(255 - images[0, 0]).resize((280, 280))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)

    found = net.predict([upright, buffer.getvalue(), Image.open(io.BytesIO(buffer.getvalue()))])

    assert all(np.array_equal(one.seen, found[0].seen) for one in found)


def a_net(*, mean: float, std: float, **settings: object) -> TrainedNet:
    """A net that reads nearly everything as "a"."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    with torch.no_grad():
        module[1].weight.mul_(0.1)
        module[1].bias.copy_(torch.tensor([3.0, 0.0, 0.0]))
    names = ("a", "b", "c")
    shape = (1, 6, 6)
    given = {"module": module, "input_shape": shape, "class_names": names, "data": "mine", **settings}
    return TrainedNet(mean=(mean,), std=(std,), **given)


def test_a_picture_far_from_the_training_images_is_noted() -> None:
    """A net that was trained on values 0 and 1 reads an ordinary picture; one trained on 0 to 255 reads it as well."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 6)).astype(np.uint8)

    (far,) = a_net(mean=0.13 / 255, std=0.34 / 255).predict(picture)
    (near,) = a_net(mean=0.5, std=0.25).predict(picture)

    assert any("unlike the training images" in warning for warning in far.warnings)
    assert near.warnings == ()


def test_pictures_are_laid_and_fitted_as_those_of_the_training_were() -> None:
    """Black on transparent is laid on the ground of the set; a wide picture is cut where those were cut."""
    drawn = Image.new("RGBA", (12, 6), (0, 0, 0, 0))
    drawn.paste((0, 0, 0, 255), (3, 0, 6, 6))

    (found,) = a_net(mean=0.5, std=0.25, ground=255, fit="crop").predict(drawn)

    assert found.seen[0].tolist() == [[0] * 3 + [255] * 3] * 6


def test_a_picture_that_shows_nothing_is_noted() -> None:
    """Black drawn on transparency, for a net of light things on black."""
    drawn = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    drawn.paste((0, 0, 0, 255), (3, 0, 6, 6))

    (found,) = a_net(mean=0.1, std=0.25, ground=0).predict(drawn)

    assert "nothing in it: all values are equal" in found.warnings


def test_a_picture_is_called_unsure_where_nearly_all_validation_images_were_read_with_more_certainty() -> None:
    """The bound is that of the run; without one nobody knows what is unsure for this net."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 6)).astype(np.uint8)
    sure = a_net(mean=0.5, std=0.25)
    (found,) = sure.predict(picture)

    (above,) = replace(sure, unsure_below=found.probability - 0.01).predict(picture)
    (below,) = replace(sure, unsure_below=found.probability + 0.01).predict(picture)

    assert found.warnings == above.warnings == ()
    assert [warning[:7] for warning in below.warnings] == ["unsure:"]


def test_an_answer_that_is_less_likely_than_not_is_called_unsure() -> None:
    """Whatever is known of the validation images."""
    even = a_net(mean=0.5, std=0.25)
    with torch.no_grad():
        even.module[1].bias.zero_()
        even.module[1].weight.mul_(0.01)

    (found,) = even.predict(np.random.default_rng(0).integers(0, 256, (6, 6)).astype(np.uint8))

    assert found.probability < 0.5
    assert found.warnings == ("unsure: no class is more likely than all others together",)


def test_a_bad_file_does_not_end_the_others(tmp_path: Path) -> None:
    """Each file has a prediction or a fault, in order."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6)).astype(np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    paths = [tmp_path / name for name in ("bad.png", "good.png", "gone.png", "good.png")]

    found = list(a_net(mean=0.5, std=0.25).predict_files(paths))

    assert [isinstance(one, Unread) for one in found] == [True, False, True, False]
    assert [one.path for one in found] == paths
    assert len({tuple(one.as_row()) for one in found}) == 1


def test_a_folder_stands_for_the_pictures_in_it(tmp_path: Path) -> None:
    """Those of sub-folders too, 2 before 10; hidden and other files are counted, not read."""
    (tmp_path / "sub").mkdir()
    for name in ("10.png", "2.PNG", "sub/3.jpg", ".4.png", "notes.txt"):
        (tmp_path / name).touch()

    found, left_out = picture_files([tmp_path, Path("given.anything")])

    assert [path.name for path in found] == ["2.PNG", "10.png", "3.jpg", "given.anything"]
    assert left_out == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty must have pictures \(.bmp, "):
        picture_files([tmp_path / "empty"])
