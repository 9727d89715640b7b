"""What the documentation says of the scripts and notebooks of strangers is counted from their records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pytest

from flyweight.code_check.reading import read_code
from flyweight.evidence.stats import wilson

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "benchmarks" / "fault_bench" / "strangers"
ROUNDS: Final[dict[str, dict[str, Any]]] = {
    path.stem.removeprefix("round"): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("round*.json"))
}


def share(part: int, whole: int) -> str:
    """`4 of 45, 9 % (4 to 21 %)`."""
    low, high = wilson(part, whole)
    return f"{part} of {whole}, {part / whole * 100:.0f} % ({low * 100:.0f} to {high * 100:.0f} %)"


@pytest.mark.parametrize("number", ROUNDS)
def test_the_table_of_rounds_is_counted_from_the_record(number: str) -> None:
    """Files, faults named when each file was first read, alarms that are right, and sound files with a wrong alarm."""
    files = ROUNDS[number]["files"]
    faults = [fault["verdict"] for one in files for fault in one["faults"]]
    alarms = [(one["healthy"], alarm["verdict"]) for one in files for alarm in one["alarms"]]
    judged = [verdict for _, verdict in alarms if verdict != "debatable"]
    sound = [one for one in files if one["healthy"]]
    disturbed = [one for one in sound if any(alarm["verdict"] == "wrong" for alarm in one["alarms"])]

    row = " | ".join(
        [
            f"| {number}",
            str(len(files)),
            share(faults.count("named"), len(faults)),
            share(judged.count("right"), len(judged)),
            f"{share(len(disturbed), len(sound))} |",
        ]
    )

    assert row in (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", ROUNDS)
def test_the_files_of_a_round_are_those_that_were_judged_and_are_read_whole(number: str) -> None:
    """The bytes are those of the first run; a cell is skipped only where it is no Python."""
    files = ROUNDS[number]["files"]
    assert len(files) == 60

    for one in files:
        path = FOLDER / f"round{number}" / one["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"], one["file"]
        skipped = read_code(path).skipped
        assert all("is not Python" in reason for reason in skipped), (one["file"], skipped)


# What names the faults of each file since the rules were extended; the files had been seen by then.
SINCE: Final = {
    "CIFAR_dropout.ipynb": {"CD29"},
    "LightningFashion.ipynb": {"CD11"},
    "Untitled3.ipynb": {"CD48"},
    "accumulate_effnet.ipynb": {"CD32"},
    "best_weights.py": {"CD40"},
    "bird_folders.py": {"CD51"},
    "cats_vs_dogs_kaggle.ipynb": {"CD04", "CD11"},
    "chest_xray_slices.py": {"CD56"},
    "cifar10_vgg.py": {"CD33"},
    "cifar_amp.py": {"CD39"},
    "deep_mlp_blocks.py": {"CD41"},
    "defect_threshold.ipynb": {"CD61"},
    "digits_aug.ipynb": {"CD06", "CD53"},
    "distill_mobilenet.py": {"CD42", "CD45"},
    "ema_cifar.py": {"CD44"},
    "eval_checkpoint.py": {"CD47"},
    "finetune_flowers.py": {"CD35"},
    "finetune_loop.py": {"CD36", "CD37"},
    "first_cnn.ipynb": {"CD57"},
    "gridsearch.ipynb": {"CD61"},
    "imbalanced_sampler.py": {"CD52", "CD54"},
    "kfold_fashion.ipynb": {"CD38"},
    "leaf_disease_f1.py": {"CD59", "CD60"},
    "melanoma_balance.ipynb": {"CD50"},
    "mixup_cifar100.py": {"CD46"},
    "own_photos_numpy.py": {"CD43"},
    "pca_mlp.ipynb": {"CD49"},
    "plateau_stl.py": {"CD31", "CD34"},
    "quickdraw_eval.py": {"CD58"},
    "resnet_svhn.ipynb": {"CD21"},
    "resume_train.py": {"CD55"},
    "superconv.py": {"CD33"},
    "tiny_imagenet_big_batch.py": {"CD22", "CD27"},
    "train_mnist_cnn.py": {"CD26"},
    "trainer_class.py": {"CD14", "CD58"},
    "which_lr.ipynb": {"CD38"},
}


def test_faults_that_were_missed_are_named_since() -> None:
    """All faults of the first round have a finding of their kind; of the sound files, one has the debatable one."""
    found = {
        one["file"]: (one["healthy"], len(one["faults"]), read_code(FOLDER / "round1" / one["file"]))
        for one in ROUNDS["1"]["files"]
    }

    missing = {name: SINCE[name] - {one.code for one in found[name][2].findings} for name in SINCE}
    assert not any(missing.values()), missing
    assert set(SINCE) == {name for name, (is_sound, _, _) in found.items() if not is_sound}
    assert [one.code for is_sound, _, reading in found.values() if is_sound for one in reading.findings] == ["CD25"]
