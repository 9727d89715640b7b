"""What must not change while code moves: weights of short seeded runs, and what every command prints as JSON.

    python -m benchmarks.baseline --write      store what is so now, in benchmarks/baseline/stored.json
    python -m benchmarks.baseline              make it again and print each difference; exit code 1 if there is one

Weights are the same to the bit only where the fingerprint is (torch, processor capability, kernels); elsewhere they are
not compared, and that is said. Times, ids, paths and versions are taken out of the JSON before it is stored.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

STORED = Path(__file__).with_name("stored.json")
REPOSITORY = Path(__file__).parents[2]
OWN = ("own/20k-best", "own/20k-fast", "own/25k-one-epoch", "own/8k")
STEPS = ("000-5", "001-9", "002-3a", "003-17", "004-1")
SHORT = ("--set", "train.epochs=1", "--set", "data.train_limit=2000")
KERNELS = ("on", "off")

STUDY = ("--study", "parts", *SHORT)
TRAININGS = (
    ("train", "own/8k", "--seeds", "2", *STUDY, "--json"),
    ("train", "own/8k", "--seeds", "2", *STUDY, "--set", "train.lr=0.02", "--expect", "worse", "--json"),
    ("train", "003-17", *SHORT, "--json"),
)
COMMANDS = (
    ("recipes", "--json"),
    ("recipes", "--keys", "--json"),
    ("show", "c8nb bn r m2 c16nb bn r gap flat fc10", "--budget", "1k", "--json"),
    ("show", "own/20k-fast", "--json"),
    ("check", "own/20k-best", "--budget", "8k", "--json"),
    ("check", "own/8k", "--json"),
    ("data", "--json"),
    ("data", "mnist", "--json"),
    ("runs", "--json"),
    ("runs", "--study", "parts", "--json"),
    ("report", "@latest", "--json"),
    ("predict", "@latest", "seven.png", "--json"),
    ("compare", "short.toml", "slow.toml", "--json"),
    ("journal", "parts", "--json"),
    ("doctor", "own/25k-one-epoch", "--set", "train.batch_size=1024", "--json"),
    ("doctor", "@latest", "--json"),
    ("doctor", "--code", "theirs.py", "--json"),
    ("journey", "show", "003", "--json"),
    ("journey", "verify", "003", "17", "--records", str(REPOSITORY / "docs" / "journeys"), "--json"),
    ("journey", "import", "experiments.md", "--budget", "20k", "--json"),
)
THEIRS = """import torch
from torchvision import datasets
train = datasets.MNIST("d", train=True)
loader = torch.utils.data.DataLoader(train, batch_size=1024)
for epoch in range(1):
    for x, y in loader:
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
"""
SHORT_RECIPE = 'extends = "own/8k"\n[train]\nepochs = 1\n[data]\ntrain_limit = 2000\n'
SLOW_RECIPE = 'extends = "short.toml"\n[train]\nlr = 0.02\n'
EXPERIMENTS = """| # | change | params | test |
|---|---|---|---|
| 1 | baseline | 24,498 | 98.1 |
| 2 | dropout 0.1 | 24,498 | 98.3 |
"""
PASSING = (
    "seconds",
    "_at",
    "started",
    "finished",
    "per_second",
    "memory",
    "megabytes",
    "environment",
    "version",
    "author",
)


def main() -> int:
    """Store the baseline, or compare with the stored one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baseline", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store what is so now")
    parser.add_argument(
        "--only", choices=("weights", "json"), help="make one half alone; with --write, the other stays as it is stored"
    )
    options = parser.parse_args()
    found: dict[str, Any] = {"fingerprint": fingerprint()}
    with tempfile.TemporaryDirectory() as place:
        if options.only != "json":
            found["weights"] = weights(Path(place))
        if options.only != "weights":
            found["json"] = printed(Path(place))
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    if options.write:
        text = json.dumps(stored | found, indent=1, sort_keys=True, ensure_ascii=False)
        STORED.write_text(f"{text}\n", encoding="utf-8")
        print(f"stored in {STORED}")
        return 0
    differences = compare(stored, found)
    print("\n".join(differences) or "nothing differs")
    return 1 if differences else 0


def fingerprint() -> dict[str, str]:
    """What decides about the last bit of the weights."""
    return {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}


def weights(place: Path) -> dict[str, str]:
    """SHA-256 over the tensors of each short run, by recipe and kernels."""
    found = {}
    for kernels in KERNELS:
        home = place / f"kernels-{kernels}"
        for recipe in (*OWN, *STEPS):
            flyweight(("train", recipe, *SHORT), home=home, kernels=kernels)
            newest = max((home / "runs").iterdir(), key=lambda folder: folder.name)
            found[f"{recipe}, kernels {kernels}"] = digest(newest / "weights.safetensors")
    return found


def digest(path: Path) -> str:
    """SHA-256 over names, shapes and bytes; the file's own metadata is left out."""
    sha = hashlib.sha256()
    with safe_open(path, framework="numpy") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            sha.update(f"{name} {tensor.dtype} {tensor.shape};".encode())
            sha.update(tensor.tobytes())
    return sha.hexdigest()


def printed(place: Path) -> dict[str, list[str]]:
    """What each command prints as JSON over a small store, without what differs from run to run."""
    home = place / "lab"
    home.mkdir()
    (home / "theirs.py").write_text(THEIRS, encoding="utf-8")
    (home / "experiments.md").write_text(EXPERIMENTS, encoding="utf-8")
    (home / "short.toml").write_text(SHORT_RECIPE, encoding="utf-8")
    (home / "slow.toml").write_text(SLOW_RECIPE, encoding="utf-8")
    draw_seven(home / "seven.png")
    found = {}
    for command in (*TRAININGS, *COMMANDS):
        text = flyweight(command, home=home, kernels="on")
        found[" ".join(command).replace(str(REPOSITORY), "REPOSITORY")] = settled(text, home)
    return found


def draw_seven(path: Path) -> None:
    """A seven on white paper."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).line([(60, 50), (140, 50), (90, 160)], fill=0, width=12)
    image.save(path)


def flyweight(command: tuple[str, ...], *, home: Path, kernels: str) -> str:
    """What a command prints; any documented exit code will do."""
    environment = {**os.environ, "FLYWEIGHT_KERNELS": kernels, "FLYWEIGHT_HOME": str(home), "FLYWEIGHT_AUTHOR": "Ada"}
    done = subprocess.run(
        [sys.executable, "-m", "flyweight", *command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=home if home.exists() else None,
        check=False,
    )
    if done.returncode == 1:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout or f"exit code {done.returncode}: {done.stderr}"


def settled(text: str, home: Path) -> list[str]:
    """Lines of the JSON with times, ids and paths taken out."""
    with contextlib.suppress(ValueError):
        text = json.dumps(without_passing(json.loads(text)), indent=1, sort_keys=True, ensure_ascii=False)
    ids: dict[str, str] = {}
    text = re.sub(
        r"\b(?=[0-9a-z]*[0-9])[0-9a-hjkmnp-tv-z]{20}\b",
        lambda found: ids.setdefault(found[0], f"<run {len(ids) + 1}>"),
        text,
    )
    return text.replace(str(home), "<home>").splitlines()


def without_passing(value: Any) -> Any:
    """The value without what is another in every run."""
    if isinstance(value, dict):
        kept = {key: without_passing(item) for key, item in value.items()}
        return {key: None if any(word in key for word in PASSING) else item for key, item in kept.items()}
    return [without_passing(item) for item in value] if isinstance(value, list) else value


def compare(stored: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """A line for each difference."""
    lines = []
    if stored["fingerprint"] != found["fingerprint"]:
        lines.append(
            f"note: weights are not compared, other fingerprint: {stored['fingerprint']}, {found['fingerprint']}"
        )
    elif "weights" in found:
        names = sorted(stored["weights"] | found["weights"])
        lines += [
            f"weights differ: {name}" for name in names if stored["weights"].get(name) != found["weights"].get(name)
        ]
    if "json" in found:
        for name in sorted(stored["json"] | found["json"]):
            before, after = stored["json"].get(name, []), found["json"].get(name, [])
            if before != after:
                lines += [f"JSON differs: flyweight {name}", *difflib.unified_diff(before, after, lineterm="", n=0)]
    return lines


if __name__ == "__main__":
    sys.exit(main())
