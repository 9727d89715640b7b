"""What is installed is what was tested: the wheel carries all it needs and works without development packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from flyweight.errors import MissingError

ROOT = Path(__file__).parent.parent
CARRIED = (
    "flyweight/kernels/source/convolution.cpp",
    "flyweight/kernels/source/layers.cpp",
    "flyweight/kernels/source/common.hpp",
    "flyweight/data/mnist.npz",
    "flyweight/data/NOTICE.md",
    "flyweight/recipe/own/20k-fast.toml",
    "flyweight/recipe/own/20k-best.toml",
    "flyweight/recipe/own/20k-gpu.toml",
    "flyweight/recipe/own/25k-one-epoch.toml",
    "flyweight/recipe/own/8k.toml",
    "flyweight/report/run/page.html",
    "flyweight/py.typed",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_data_recipes_templates_and_migrations(wheel):
    """Everything that is read at run time is in it; tests and benchmarks are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    assert set(CARRIED) <= names
    assert any(name.startswith("flyweight/records/migrations/versions/") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_installed_wheel_works_with_and_without_torch(wheel, tmp_path):
    """In an environment of its own, outside the tree: reading needs no extra, training needs `train` and no more."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    variables = {**os.environ, "FLYWEIGHT_HOME": str(tmp_path / "home")}
    variables.pop("PYTHONPATH", None)

    def install(*wanted: str) -> set[str]:
        pip = [environment / "bin" / "python", "-m", "pip"]
        constraints = ROOT / "constraints.txt"
        subprocess.run([*pip, "install", "--quiet", "--constraint", constraints, *wanted], check=True)
        listed = subprocess.run([*pip, "list", "--format", "json"], check=True, capture_output=True, text=True)
        return {package["name"].lower() for package in json.loads(listed.stdout)}

    def flyweight(*arguments: str, code: int = 0) -> str:
        command = [str(environment / "bin" / "flyweight"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    assert "torch" not in install(str(wheel))
    assert "parameters" in flyweight("show", "own/20k-fast")
    flyweight("runs")
    flyweight("train", code=MissingError.exit_code)

    assert not install(f"{wheel}[train]") & {"pytest", "hypothesis", "mypy", "ruff", "torchvision"}
    (result,) = json.loads(
        flyweight("train", "--set", "data.train_limit=2000", "--set", "train.epochs=1", "--json", "--seeds", "1")
    )
    assert result["test"]["correct"] > 5000
    report = Path(json.loads(flyweight("report", "@best", "--json"))["report"])
    assert report.is_file()
    flyweight("data", "mnist", "--pictures", str(tmp_path / "seen"))
    flyweight("predict", "@best", *map(str, (tmp_path / "seen").glob("*.png")))


def test_installing_replaces_no_torch_and_tests_use_a_tested_one():
    """torch is an extra without a cap; constraints.txt has the cap, and nothing asks for torchvision."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]

    assert [one for one in wanted if one.startswith("torch")] == extras["train"] == ["torch>=2.11"]
    assert "torch<2.14" in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "3000 None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
    ],
    ids=str,
)
def test_threads_spin_a_little_unless_the_user_says_otherwise(given, found):
    """How OpenMP's threads wait is set before torch can load, and a user's word goes before ours."""
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    program = "import flyweight, os; print(*map(os.environ.get, ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')))"

    printed = subprocess.run(
        [sys.executable, "-c", program], env={**others, **given}, capture_output=True, text=True, check=True
    )

    assert printed.stdout.strip() == found
