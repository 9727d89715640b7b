"""Every verb from the outside: what it prints where, in which form, and the code it leaves with."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from documented import interrupted, made_short, rehearse_small, set_stage
from flyweight.cli.app import VERBS, application
from flyweight.cli.journal import note
from flyweight.cli.journal import show as show_journal
from flyweight.cli.journey import import_table, list_journeys, verify
from flyweight.cli.journey import report as report_journeys
from flyweight.cli.journey import run as run_journey
from flyweight.cli.journey import show as show_journey
from flyweight.cli.search import rm as remove_search
from flyweight.cli.search import show as show_search
from flyweight.cli.search import start as start_search
from flyweight.errors import EXIT_CODES
from flyweight.model.notation import EXAMPLES
from flyweight.records.store import Store
from forked import ForkedCommand
from tiny import write_recipe

SEARCH = (start_search, show_search, remove_search)
JOURNEY = (list_journeys, show_journey, run_journey, verify, report_journeys, import_table)
SHORT = ["--set", "data.train_limit=300", "--set", "train.epochs=1"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything happens in an empty folder with a home of its own, 80 columns wide."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FLYWEIGHT_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FLYWEIGHT_DATABASE", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return str(write_recipe(tmp_path))


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flyweight", *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_train_reports_predicts_and_lists(flyweight, recipe, tmp_path):
    """A trained run is in the list, has a report, and reads pictures: the whole way of a first user."""
    code, out, err = flyweight("train", recipe)
    assert code == 0
    assert "1,442" not in out
    assert "epoch 2/2" in err
    assert "test" in out
    assert max(map(len, (out + err).splitlines())) <= 80 or str(tmp_path) in out

    code, out, _ = flyweight("runs", "--json")
    (listed,) = json.loads(out)
    assert (code, listed["name"], listed["status"]) == (0, "tiny", "finished")

    code, out, _ = flyweight("report", "@best", "--json")
    page = Path(json.loads(out)["report"])
    assert code == 0
    assert page.stat().st_size > 10_000

    with np.load("digits.npz") as digits:
        Image.fromarray(digits["x_test"][0]).resize((140, 140)).save("seven.png")
    code, out, _ = flyweight("predict", "@latest", "seven.png", "--inputs", "seen", "--json")
    (read,) = json.loads(out)
    assert code == 0
    assert read["predicted"] in "0123456789"
    assert 0 < read["probability"] <= 1
    with Image.open("seen/1-seven.png") as seen:
        assert seen.size == (28, 28)
    code, out, _ = flyweight("predict", listed["id"][:10], "seven.png")
    assert code == 0
    assert "seven.png: " in out


def test_help_and_version_answer_to_the_words_of_others(flyweight):
    """`help VERB` as in git, and -v and -V."""
    assert flyweight("help", "train")[:2] == flyweight("train", "--help")[:2]
    assert flyweight("help")[:2] == flyweight("--help")[:2]
    assert flyweight("-v")[:2] == flyweight("-V")[:2] == flyweight("--version")[:2]


def test_a_folder_of_pictures_is_a_line_for_each(flyweight, recipe):
    """A bad picture is named and does not end the others; in the end the code is that of bad files. CSV has all."""
    flyweight("train", recipe)
    Path("scans").mkdir()
    with np.load("digits.npz") as digits:
        for number in (1, 2, 10):
            Image.fromarray(digits["x_test"][number]).save(f"scans/{number}.png")
    Path("scans/3.png").write_text("no picture")

    code, out, err = flyweight("predict", "@latest", "scans")
    table_code, table, _ = flyweight("predict", "@latest", "scans", "--csv")

    assert (code, table_code) == (6, 6)
    assert [line.partition(":")[0] for line in out.splitlines()] == ["scans/1.png", "scans/2.png", "scans/10.png"]
    assert "scans/3.png: must be a picture" in err
    assert "1 of 4 pictures could not be read" in err
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["path"] for row in rows] == [f"scans/{number}.png" for number in (1, 2, 3, 10)]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert all(0 < float(row["probability"]) <= 1 for row in rows if not row["error"])


def test_several_seeds_are_one_result(flyweight, recipe):
    """--seeds trains a group and prints mean and spread; --json gives every run."""
    code, out, _ = flyweight("train", recipe, "--seeds", "2")
    assert code == 0
    assert "±" in out

    groups = {run.group_id for run in Store.open().runs()}
    assert len(groups) == 1
    assert None not in groups


def test_results_go_to_stdout_and_talk_to_stderr(flyweight, recipe):
    """What --json prints can be read by a program while people read the rest."""
    _, out, err = flyweight("train", recipe, "--json")

    (result,) = json.loads(out)
    assert result["test"]["count"] == 60
    assert err.startswith("tiny: ")


@pytest.mark.parametrize("verb", ["show", "recipes", "data", "runs"])
def test_rows_are_spoken_in_four_forms(flyweight, recipe, verb):
    """Text, JSON, CSV and Markdown hold the same rows; two forms at once are refused."""
    arguments = {"show": ["show", recipe], "data": ["data", "digits.npz", "--validation", "40"]}.get(verb, [verb])
    if verb == "runs":
        flyweight("train", recipe, "--set", "train.epochs=1")

    printed = {form: flyweight(*arguments, *form) for form in ((), ("--json",), ("--csv",), ("--md",))}

    assert {code for code, _, _ in printed.values()} == {0}
    json.loads(printed["--json",][1])
    rows = list(csv.DictReader(io.StringIO(printed["--csv",][1])))
    assert rows
    table = [line for line in printed["--md",][1].splitlines() if line.startswith("|")]
    assert len(table) >= len(rows) + 2
    assert flyweight(*arguments, "--json", "--csv")[0] == 2


def test_show_tells_shares_and_edits(flyweight):
    """Over budget, the ranked edits come with what each saves; stdout only."""
    code, out, err = flyweight("show", "c16 bn r c32 bn r m2 flat fc10", "--budget", "20k")

    assert code == 0
    assert "over by" in out
    assert "global average pooling instead of flatten" in out
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80


def test_show_counts_an_own_module(flyweight, tmp_path):
    """file:Class is traced, and the layer that is never called is named."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.used = nn.Linear(784, 10)\n"
        "        self.forgotten = nn.Linear(3, 4)\n"
        "    def forward(self, x):\n"
        "        return self.used(x.flatten(1))\n"
    )

    code, out, _ = flyweight("show", "mine:Net")

    assert code == 0
    assert "7,850" in out
    assert "forgotten" in out


def test_check_tells_everything_and_trains_nothing(flyweight, recipe):
    """All faults at once with code 2; over budget alone is code 3; nothing wrong is code 0."""
    code, out, _ = flyweight("check", recipe, "--set", "train.lrr=1", "--set", "model.net=c8 fc9")
    assert code == 2
    assert "train.lrr" in out
    assert "model.net" in out

    assert flyweight("check", recipe, "--budget", "100")[0] == 3
    assert flyweight("check", recipe)[0] == 0
    assert Store.open().runs() == ()


def test_copy_gives_a_file_that_trains_alike(flyweight):
    """The copy is the recipe; a file that is there is not overwritten unless told."""
    assert flyweight("copy", "own/8k", "mine.toml")[0] == 0
    assert flyweight("check", "mine.toml")[0] == 0
    assert flyweight("copy", "own/8k", "mine.toml")[0] == 2
    assert flyweight("copy", "own/8k", "mine.toml", "--overwrite")[0] == 0


def test_data_writes_pictures(flyweight, recipe):
    """--pictures leaves a grid of images and a preview of the augmentation."""
    code, out, _ = flyweight("data", "digits.npz", "--validation", "40", "--pictures", "seen")

    assert code == 0
    assert "10 classes" in out
    written = sorted(Path("seen").glob("*.png"))
    assert [path.name for path in written] == ["augmentation.png", "classes.png"]
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 200


USER_ERRORS = {
    "verb": (["trian"], 2, "train"),
    "option": (["train", "--sed", "1"], 2, "--seed"),
    "recipe": (["train", "own/20k-fats"], 2, "own/20k-fast"),
    "key": (["train", "own/8k", "--set", "train.lrr=1"], 2, "train.lr"),
    "net": (["show", "c8 bm r"], 2, "bn"),
    "shape": (["show", "c8", "--input", "28"], 2, "CHANNELSxHEIGHTxWIDTH"),
    "budget kind": (["show", "c8 r", "--budget", "parms=3"], 2, "params"),
    "run": (["report", "nosuchrun"], 2, "nosuchrun"),
    "resume and set": (["train", "--resume", "@latest", "--set", "train.lr=1"], 2, "--set"),
    "number": (["train", "--seeds", "many"], 2, "--seeds"),
    "resume and recipe": (["train", "own/8k", "--resume", "@latest"], 2, "a recipe"),
    "no seeds": (["train", "--seeds", "0"], 2, "--seeds must be 1"),
    "negative seed": (["train", "--seed", "-1"], 2, "--seed must be 0"),
    "no threads": (["train", "--threads", "0"], 2, "--threads must be 1"),
    "limit": (["runs", "--limit", "0"], 2, "--limit"),
    "extra words": (["show", "c8 r", "--budget", "10k", "macs=1M"], 2, "macs=1M"),
    "held out": (["check", "own/8k", "--set", "data.validation=60000"], 2, "data.validation"),
    "no pictures": (["predict", "@latest"], 2, "picture"),
    "net without quotes": (["show", "c8", "r", "m2", "flat", "fc10"], 2, "A net is one argument, in quotes."),
    "option in --set": (["check", "own/8k", "--set", "train.device=cuda"], 2, "flyweight train --device."),
    "budget": (["train", "own/20k-fast", "--budget", "19347"], 3, "19,347"),
    "epochs": (["train", "own/20k-best", "--budget", "epochs=5"], 3, "--set train.epochs=5"),
    "argument": (["doctor"], 2, "SUBJECT is missing: a recipe, a run, or with --code a notebook or script"),
    "second argument": (["copy", "own/8k"], 2, "FILE is missing.\nUsage: flyweight copy [OPTIONS] RECIPE FILE\n"),
    "required option": (["journey", "report"], 2, "--out is missing.\nUsage: flyweight journey report --out PATH "),
    "option without value": (["train", "--seeds"], 2, "--seeds needs a value."),
    "no number": (["data", "--resize", "big"], 2, "--resize must be a whole number, found 'big'."),
    "choice": (["train", "--device", "cdua"], 2, "one of auto, cpu, cuda, mps, found 'cdua'. Did you mean 'cuda'?"),
    "section": (["bench", "speed"], 2, "SECTIONS must be one of train, roofline"),
    "given twice": (["train", "--seed", "1", "--seed", "2"], 2, "--seed is given more than once"),
    "key as option": (["train", "--ema", "0.9"], 2, "--set train.ema=VALUE"),
    "data file": (["data", "missing.npz"], 6, "missing.npz"),
    "device": (["train", "own/8k", "--device", "mps", *SHORT], 7, "mps"),
}


@pytest.mark.parametrize("case", USER_ERRORS)
def test_a_users_mistake_is_one_clear_message(flyweight, case):
    """It names what was wrong or what was meant, leaves the documented code, and shows no traceback."""
    arguments, expected, hint = USER_ERRORS[case]

    code, out, err = flyweight(*arguments)

    assert code == expected
    assert hint in (out if arguments[0] == "check" else err)
    assert bool(out) == (arguments[0] == "check")
    assert "Traceback" not in err


MISSING_FILES = {
    "check": ["check", "gone.toml"],
    "compare": ["compare", "gone.toml", "own/8k"],
    "data": ["data", "gone.npz"],
    "data folder": ["data", "gone/"],
    "doctor": ["doctor", "gone.toml"],
    "doctor --code": ["doctor", "--code", "gone.py"],
    "journal note": ["journal", "note", "gone.toml", "--after", "done"],
    "journey import": ["journey", "import", "gone.md"],
    "journey verify": ["journey", "verify", "000", "--records", "gone"],
    "predict": ["predict", "gone.safetensors", "seven.png"],
    "show": ["show", "gone.toml"],
    "train": ["train", "gone.toml"],
    "train --set": ["train", "own/8k", "--set", "data.name=gone.npz"],
    "bench": ["bench", "startup", "--quick", "--baseline", "gone.json"],
}


@pytest.mark.parametrize("case", MISSING_FILES)
def test_a_missing_file_has_one_exit_code(flyweight, case):
    """Whatever the command and the kind of file, it is 6, and the file is named."""
    code, out, err = flyweight(*MISSING_FILES[case])

    assert (code, out) == (6, "")
    assert "gone" in err
    assert "Errno" not in err


def test_a_target_that_is_missed_has_its_own_code(flyweight, recipe):
    """The run is kept and finished; the code says that it was not good enough."""
    code, _, err = flyweight("train", recipe, "--set", "target.accuracy=0.9999")

    assert code == 4
    assert "99.99%" in err
    assert Store.open().get("@latest").status == "finished"


def test_divergence_has_its_own_code(flyweight, recipe):
    """It says where the numbers ended."""
    code, _, err = flyweight("train", recipe, "--set", "train.lr=1e30")

    assert code == 5
    assert "first seen in" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seeds", [[], ["--seeds", "2"]])
def test_a_signal_saves_and_the_printed_command_goes_on(flyweight, recipe, number, seeds):
    """Ctrl-C leaves with 130, SIGTERM with 143; what it prints resumes to the end."""
    process = ForkedCommand("train", recipe, "--set", "train.epochs=4000", *seeds)
    process.wait_for("epoch 2/")
    process.send_signal(number)
    _, err = process.communicate()

    assert process.returncode == 128 + number
    assert err.count("Ctrl-C again ends it at once") == 1
    command = err[err.index("continue with: flyweight ") :].splitlines()[0].split("flyweight ")[1].split()
    interrupted = [run for run in Store.open().runs() if run.status == "interrupted"]
    assert len(interrupted) == max(1, len(seeds))
    assert command[:2] == ["train", "--resume"]

    # It would train for long: stop it again, to see that it went on from where it was.
    again = ForkedCommand(*command)
    line = again.wait_for("/4000  train ")
    again.send_signal(signal.SIGTERM)
    again.communicate()
    epoch = int(line.split("epoch ")[1].split("/")[0])
    assert epoch > min(run.epochs_done for run in interrupted)


def test_a_seed_that_dies_is_told_and_closed(recipe):
    """A process killed from outside ends the command with 1, and its run does not stay open."""
    process = ForkedCommand("train", recipe, "--set", "train.epochs=4000", "--seeds", "1")
    process.wait_for("epoch 2/")
    (running,) = Store.open().runs()
    os.kill(running.pid, signal.SIGKILL)
    _, err = process.communicate()

    assert process.returncode == 1
    assert "seed 0" in err
    assert Store.open().get("@latest").status == "lost"


def test_a_pipe_that_closes_early_is_no_error(recipe):
    """`flyweight show ... | head -1` prints one line and complains about nothing."""
    shell = f"{sys.executable} -m flyweight recipes --keys --json | head -1"

    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[", "")


def test_no_color_codes_without_a_terminal(recipe):
    """In a pipe there are no escape codes, neither in help nor in results."""
    for arguments in (["--help"], ["train", "--help"], ["show", recipe]):
        process = start(*arguments)
        out, err = process.communicate(timeout=60)
        assert "\x1b" not in out + err


def test_a_first_line_comes_at_once(recipe):
    """The plan is told before torch is loaded: it is the first thing on stderr."""
    process = start("train", recipe)
    assert process.stderr is not None
    began = time.monotonic()
    first = process.stderr.readline()
    waited = time.monotonic() - began
    process.communicate(timeout=120)
    whole = time.monotonic() - began

    assert first.startswith("tiny: ")
    assert waited < whole / 2


def test_help_loads_neither_torch_nor_the_database():
    """--help and show answer without the heavy libraries."""
    commands = ("--help", "train --help", "show own/20k-fast", "check own/8k", "recipes")
    script = f"""
import sys
from flyweight.cli.app import run
for command in {commands}:
    assert run(command.split()) == 0
    loaded = {{"torch", "sqlalchemy", "scipy", "matplotlib", "pooch"}} & set(sys.modules)
    assert not loaded, (command, loaded)
"""
    subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=True)


def examples() -> list[list[str]]:
    """The commands in the verbs' help, without their "$ flyweight"."""
    documented = [*VERBS.values(), show_journal, note, *JOURNEY, *SEARCH]
    lines = [line.strip() for verb in documented for line in (verb.__doc__ or "").splitlines()]
    return [split(line)[2:] for line in lines if line.startswith("$ flyweight")]


def split(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


@pytest.fixture(scope="module")
def stage(tmp_path_factory, made_once) -> Path:
    """What the examples of the help texts take for granted: runs, a stopped one, pictures, a folder of photos."""
    folder = tmp_path_factory.mktemp("stage")
    made_once(set_stage, folder)
    with np.load(folder / "digits.npz") as digits:
        (folder / "scans").mkdir(exist_ok=True)
        for name in ("scans/scan.jpg", "photo.png"):
            Image.fromarray(digits["x_test"][0]).resize((140, 140)).save(folder / name)
        for number, (image, label) in enumerate(zip(digits["x_train"], digits["y_train"], strict=True)):
            photos = folder / "photos" / f"digit {label}"
            photos.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(photos / f"{number}.png")
    return folder


@pytest.mark.parametrize("example", examples(), ids=" ".join)
def test_every_example_of_the_help_runs(flyweight, stage, monkeypatch, example):
    """Each does what it shows; trainings are cut to a few images."""
    monkeypatch.chdir(stage)
    monkeypatch.setenv("FLYWEIGHT_HOME", str(stage / "home"))
    rehearse_small(monkeypatch)
    (stage / "mine.toml").unlink(missing_ok=True)
    if example[:2] == ["train", "--resume"]:
        stopped = Store.open().runs(status="interrupted")[0]
        example = [stopped.id if word == "@latest" else word for word in example]
    elif example[:2] == ["search", "rm"]:
        store = Store.open()
        example = [*example[:2], "removed"]
        store.searches.start("removed", store.searches.get("search-1").plan)
        store.searches.save("removed", "stopped", seconds=1.0)
    elif example[0] in ("train", "compare", "journey", "search"):
        example = made_short(example, stage)
    elif example[:2] == ["data", "photos/"]:
        example = [*example, "--validation", "40"]
    elif example[0] == "bench":
        example = ["bench", "startup", "--quick", *(word for word in example if word == "--md")]

    code, out, err = flyweight(*example)

    assert code == (3 if example[0] == "check" and "8k" in example else 0), err
    assert out or example[:2] in (["journal", "note"], ["search", "rm"]) or "--verify" in example


def test_every_verb_has_an_example():
    """The test above found one for each verb."""
    assert {example[0] for example in examples()} == set(VERBS)
    assert len(VERBS) >= 19


def test_exit_codes_are_listed_once(flyweight):
    """`flyweight --help` lists them all; the help of a command does not repeat them."""
    _, out, _ = flyweight("--help")
    for command in (["train"], ["journey", "run"]):
        assert "Exit codes" not in flyweight(*command, "--help")[1]

    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning.split(':')[0]}" in " ".join(out.split())


COMMANDS = [[verb] for verb in VERBS] + [["journal", "note"]]
COMMANDS += [["journey", step] for step in ("show", "run", "verify", "report", "import")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_usage_line_names_the_arguments(flyweight, command):
    """Those of the table below it; no [ARGS]. No line of the help is wider than 80 columns."""
    _, out, _ = flyweight(*command, "--help")

    usage = out.splitlines()[0]
    assert usage.startswith(f"Usage: flyweight {' '.join(command)} ")
    assert "ARGS" not in usage
    table = out[out.index(" Arguments ") :].split("╰")[0] if " Arguments " in out else ""
    named = re.findall(r"^│ [* ]*([A-Z]+) ", table, re.MULTILINE)
    assert re.findall(r"\b[A-Z]+\b", usage.partition("[OPTIONS]")[2]) == named
    assert all(len(line) <= 80 for line in out.splitlines())


def test_the_help_of_show_names_every_layer(flyweight):
    """Each word and each letter of the notation, for those who have no documentation at hand."""
    _, out, _ = flyweight("show", "--help")

    words = re.split(r"[ ,;:()\n]+", out)
    missing = [one for one in EXAMPLES if not any(word.startswith(one.rstrip("0123456789.")) for word in words)]
    assert not missing


def test_keys_of_recipes_fit_a_terminal(flyweight):
    """`recipes --keys` is wrapped at 80 columns."""
    code, out, _ = flyweight("recipes", "--keys")

    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())


def test_the_application_knows_its_version():
    """--version is the package's."""
    from flyweight import __version__

    assert application().version == __version__


def test_a_report_of_what_has_no_figures_or_was_changed_says_so(flyweight, recipe):
    """A stopped run is named with the command that goes on; a changed file is named; both leave with 6."""
    interrupted(recipe)
    code, _, err = flyweight("report", "@latest")
    assert code == 6
    assert "flyweight train --resume" in err

    flyweight("train", recipe, "--set", "train.epochs=1")
    metrics = Store.open().folder(Store.open().get("@latest").id).path / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("0.", "9."))
    code, _, err = flyweight("report", "@latest")
    assert code == 6
    assert "metrics.csv" in err


def test_commands_that_are_shown_look_where_this_one_did(flyweight, recipe, tmp_path):
    """With --home, the next command and the one that goes on repeat it, quoted where it has blanks."""
    elsewhere = str(tmp_path / "my lab")
    _, out, _ = flyweight("train", recipe, "--home", elsewhere, "--set", "train.epochs=1")
    assert f"--home '{elsewhere}'" in out

    process = ForkedCommand("train", recipe, "--home", elsewhere, "--set", "train.epochs=2000")
    process.wait_for("epoch 1/")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert f"--home '{elsewhere}'" in err


def test_runs_that_are_not_there_are_not_called_none_at_all(flyweight, recipe):
    """A filter that matches nothing says what there is."""
    assert "no runs yet" in flyweight("runs")[2]
    flyweight("train", recipe, "--set", "train.epochs=1")

    code, out, err = flyweight("runs", "--name", "nothere")

    assert (code, out) == (0, "")
    assert "there are runs of tiny" in err


def test_a_net_of_other_pictures_takes_them_as_they_are(flyweight, recipe, tmp_path):
    """Only handwriting is cropped and inverted; a picture of the training set is read as it was trained on."""
    flyweight("train", recipe)
    with np.load("digits.npz") as digits:
        Image.fromarray(255 - digits["x_test"][0]).save("picture.png")

    code, out, _ = flyweight("predict", "@latest", "picture.png", "--json")

    assert code == 0
    assert "only resized" in json.loads(out)[0]["notes"][0]


def test_the_result_of_several_seeds_can_be_seen_again(flyweight, recipe):
    """`report` of one seed tells the spread over all of them too."""
    flyweight("train", recipe, "--seeds", "2", "--set", "train.epochs=1")

    _, out, _ = flyweight("report", "@latest")

    assert "2 of 2 seeds finished" in out
    assert "±" in out


def test_a_run_whose_folder_is_gone_says_so(flyweight, recipe):
    """Neither a report nor a prediction sends anybody the wrong way."""
    flyweight("train", recipe, "--set", "train.epochs=1")
    folder = Store.open().folder(Store.open().get("@latest").id).path
    shutil.rmtree(folder)

    for arguments in (["report"], ["predict", "@latest", "x.png"]):
        code, _, err = flyweight(*arguments)
        assert code == 6
        assert str(folder) in err
        assert "Traceback" not in err
