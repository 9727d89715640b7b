"""`flyweight doctor` from the outside, and the doctor at the side of a training."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flyweight import __version__ as flyweight_version
from flyweight.cli.doctor.named import NamedSubject
from flyweight.cli.doctor.trials import try_remedies
from flyweight.cli.output import StoreLocation
from flyweight.diagnose.examine import examine_recipe
from flyweight.doctor.finding import Diagnosis, Finding, Gain, Remedy
from flyweight.doctor.table import RULES
from flyweight.errors import EXIT_CODES
from flyweight.recipe import load
from flyweight.records.store import Store
from tiny import write_recipe

HOT = ["own/8k", "--set", "train.lr=10"]
SLOW = ["--set", "train.lr=1e-9"]  # nothing is learnt, and nothing diverges


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that is over and has learnt nothing."""
    from flyweight.cli.app import run

    folder = tmp_path_factory.mktemp("trained")
    recipe = write_recipe(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FLYWEIGHT_HOME", str(folder / "home"))
        assert run(["train", str(recipe), *SLOW]) == 0
    return folder


@pytest.fixture
def with_a_run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of it to work in; gives the id of the run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Store.open().get("@latest").id


class Typed(io.StringIO):
    """What somebody types at a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_recipe_is_judged_before_any_run(flyweight):
    """The fault stands first, with its change and what to type next; nothing is trained, and that is no failure."""
    code, out, err = flyweight("doctor", *HOT)

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "own/8k: 7,898 parameters, 20 epochs of 860 steps; before any run"
    assert lines[2].split()[:3] == ["1", "LR01", "fault"]
    assert any(line.startswith("  change     lr 10 → ") for line in lines)
    assert "  next       flyweight doctor own/8k --set train.lr=10 --trial" in lines
    assert max(map(len, lines)) <= 80
    assert Store.open().runs() == ()


def test_a_healthy_recipe_has_no_findings(flyweight):
    """It says that nothing was found, and how many rules were asked."""
    code, out, _ = flyweight("doctor", "own/20k-fast")

    assert code == 0
    assert "nothing found" in out
    assert f"of {len(RULES)} checks could run" in out
    assert "next" not in out


def test_a_run_is_judged_by_its_files(flyweight, with_a_run):
    """Named by its id, the beginning of it, or @latest, it is the same diagnosis; what is not there is reported."""
    named = [flyweight("doctor", name, "--no-probes") for name in (with_a_run, with_a_run[:12], "@latest")]

    assert len({out for _, out, _ in named}) == 1
    code, out, _ = named[0]
    assert code == 0
    assert f"  run        {with_a_run[:12]}" in out.splitlines()
    assert "SI05" in out
    assert "probes are switched off (--no-probes)" in " ".join(out.split())
    assert f"flyweight doctor {with_a_run[:12]} --fix fixed.toml" in out


def test_probes_look_at_images_and_weights(flyweight, with_a_run):
    """With them fewer rules are left that could not be asked; they are kept beside the run."""
    _, without, _ = flyweight("doctor", with_a_run, "--no-probes", "--json")
    code, out, _ = flyweight("doctor", with_a_run, "--json")

    assert code == 0
    assert json.loads(out)["asked"] > json.loads(without)["asked"]
    assert (Store.open().folder(with_a_run).path / "probes.json").exists()


def test_json_has_every_number_and_where_it_comes_from(flyweight, with_a_run):
    """Findings with evidence, sources and remedies; the rest with the reason why it was not judged."""
    code, out, _ = flyweight("doctor", with_a_run, "--no-probes", "--json")

    found = json.loads(out)
    assert code == 0
    assert (found["run"], found["status"], found["trials"]) == (with_a_run, "finished", [])
    assert found["findings"]
    assert all(one["evidence"] and all(number["source"] for number in one["evidence"]) for one in found["findings"])
    assert all(one["reason"] for one in found["unjudged"])
    assert found["asked"] + len(found["unjudged"]) == found["rules"] == len(RULES)


def test_all_of_it_is_more_than_usual(flyweight, recipe):
    """--all explains notes and names every rule that could not be asked."""
    _, short, _ = flyweight("doctor", recipe)
    _, whole, _ = flyweight("doctor", recipe, "--all")

    assert len(whole) > len(short)
    assert "SI05" in whole


def test_a_guess_is_read_and_judged(flyweight, with_a_run, monkeypatch):
    """Numbers and four titles first; right and wrong are reported; at the end of all input it continues on its own."""
    monkeypatch.setattr(sys, "stdin", Typed("1\n2\n"))

    code, out, err = flyweight("doctor", with_a_run, "--no-probes", "--teach")

    reported = json.loads(flyweight("doctor", with_a_run, "--no-probes", "--json")[1])["findings"]
    alarms = [one for one in reported if one["severity"] != "note"]
    assert (code, err) == (0, "")
    assert out.count("  guess ") == min(3, len(alarms))
    assert out.count("right.") + out.count("wrong: ") == min(2, len(alarms))
    for one in reported:
        assert one["title"] in out
    assert out.index("  guess ") < out.index(alarms[0]["explanation"][:20])
    assert max(map(len, out.splitlines())) <= 80


def test_there_is_no_question_without_a_terminal(flyweight, with_a_run, monkeypatch):
    """In a pipe --teach reports what it would have reported, and waits for no one."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))

    code, out, _ = flyweight("doctor", with_a_run, "--no-probes", "--teach")

    assert code == 0
    assert "which one" not in out
    assert "SI05" in out


MISTAKES = {
    "two tasks": (["own/8k", "--lr", "--trial"], "--trial"),
    "seeds of nothing": (["own/8k", "--seeds", "3"], "--trial"),
    "full nothing": (["own/8k", "--full"], "--trial"),
    "one seed": (["own/8k", "--trial", "--seeds", "1"], "2 or more"),
    "teach a program": (["own/8k", "--teach", "--json"], "--teach"),
    "overwrite nothing": (["own/8k", "--overwrite"], "--fix"),
    "probes of a recipe": (["own/8k", "--no-probes"], "--no-probes"),
    "change of a run": (["@latest", "--set", "train.lr=1"], "--set"),
    "change of code": (["notebook.ipynb", "--code", "--set", "train.lr=1"], "--code"),
    "a script as a run": (["theirs.py"], "`flyweight doctor --code theirs.py`"),
    "a notebook as a run": (["my work/theirs.ipynb", "--trial"], "`flyweight doctor --code 'my work/theirs.ipynb'`"),
    "no recipe": (["own/8kk"], "own/8k"),
    "no run": (["nosuchrun"], "nosuchrun"),
    "no key": (["own/8k", "--set", "train.lrr=1"], "train.lr"),
    "no recipe file": (["own/8k", "--fix", "fixed.txt"], ".toml"),
    "no folder": (["own/8k", "--fix", "nowhere/fixed.toml"], "nowhere"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_invalid_options_are_one_clear_line(flyweight, case):
    """It names the option or the name, and leaves with the code of usage."""
    arguments, hint = MISTAKES[case]

    code, out, err = flyweight("doctor", *arguments)

    assert (code, out) == (2, "")
    assert hint in err
    assert "Traceback" not in err
    assert err.startswith("flyweight: ")
    assert err.count("\n") == 1


def test_a_file_that_is_there_stays(flyweight):
    """--fix refuses before anything is trained."""
    Path("mine.toml").write_text("# mine\n")

    code, _, err = flyweight("doctor", *HOT, "--fix", "mine.toml")

    assert code == 2
    assert "--overwrite" in err
    assert Path("mine.toml").read_text() == "# mine\n"


def test_a_recipe_of_a_newer_version_is_recognised(flyweight, recipe):
    """Keys that this version does not know are named, and a line says what they may be; a wrong --set is none."""
    Path("newer.toml").write_text(Path(recipe).read_text() + "\n[future]\nkey = 1\n")

    reported = [flyweight("doctor", "newer.toml", *task) for task in ([], ["--lr"], ["--fix", "fixed.toml"])]

    assert {code for code, _, _ in reported} == {2}
    (err,) = {err for _, _, err in reported}
    assert "[future] is no section of a recipe" in err
    assert f"This is flyweight {flyweight_version}" in err.splitlines()[1]
    assert "newer" not in flyweight("doctor", recipe, "--set", "future.key=1")[2]


@pytest.mark.parametrize("task", [[], ["--no-probes"], ["--lr"], ["--trial"], ["--fix", "fixed.toml"]])
def test_a_run_of_another_version_is_named_with_it(flyweight, with_a_run, home, task):
    """Whatever is asked of it: one line with the run, the version that made it, and the key that is not known."""
    with closing(sqlite3.connect(home / "flyweight.db")) as database, database:
        (stored,) = database.execute("select recipe from runs").fetchone()
        database.execute("update runs set recipe = ?", [json.dumps({**json.loads(stored), "sorcery": 1})])

    code, out, err = flyweight("doctor", "@latest", *task)

    assert (code, out) == (2, "")
    assert err.startswith(f"flyweight: run {with_a_run[:12]}: this version cannot read its recipe")
    assert "sorcery" in err
    assert f"written by flyweight {flyweight_version}" in err
    assert err.count("\n") == 1


def test_a_remedy_that_cannot_be_tried_stops_no_other(recipe, capsys):
    """The reason is reported in one line, there and with its finding, which keeps its rank; the others are tried."""

    def finding(code: str, change: str, *, gain: Gain) -> Finding:
        remedy = Remedy(changes=(change,), gain=gain, expected="It is gone.")
        return Finding(code=code, title=code, severity="fault", rank=1, evidence=(), explanation="", remedy=remedy)

    examined = examine_recipe(load(recipe, overrides=["protocol.seed_after_split=true"]))
    found = (
        finding("DEAR", "model.net=flat fc500 fc10", gain="accuracy"),
        finding("NONE", "train.lr=fast", gain="accuracy"),
        finding("GOOD", "protocol.seed_after_split=false", gain="honesty"),
    )
    examined = replace(examined, diagnosis=Diagnosis(findings=found))
    named = NamedSubject(typed=recipe, changes=(), location=StoreLocation(), has_probes=True)

    trials = try_remedies(named, examined, 2, is_full=False)

    reported = trials.noted_in(examined).diagnosis.findings
    err = capsys.readouterr().err
    assert [trial.code for trial in trials.trials] == ["GOOD"]
    assert trials.have_helped == {"DEAR": False, "NONE": False, "GOOD": True}
    assert [one.trial.partition(": ")[0] for one in reported] == ["cannot be tried", "cannot be tried", ""]
    assert "the budget is 2,000" in reported[0].trial
    assert all(f"{one.code}: {one.trial}\n" in err for one in reported[:2])
    assert [one.rank for one in reported] == [1, 1, 1]


def test_a_diagnosis_of_a_recipe_loads_no_torch(recipe):
    """It is reported in less time than torch takes to load."""
    script = (
        "import sys; from flyweight.cli.app import run; run(sys.argv[1:]);"
        "print([name for name in ('torch', 'scipy', 'matplotlib') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script, "doctor", *HOT], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_a_range_of_learning_rates_is_reported_with_each_seed(flyweight, recipe):
    """Every seed has its line while it is looked at; --json has the curves."""
    code, out, err = flyweight("doctor", recipe, "--lr", "--seeds", "2")
    assert code == 0
    assert [line[:6] for line in err.splitlines() if line.startswith("seed")] == ["seed 0", "seed 1"]
    assert "  why" in out
    assert max(map(len, out.splitlines())) <= 80

    code, out, _ = flyweight("doctor", recipe, "--lr", "--seeds", "2", "--json")
    assert code == 0
    assert len(json.loads(out)["seeds"]) == 2


@pytest.mark.slow
def test_a_trial_is_shown_and_kept(flyweight, with_a_run):
    """Each remedy is trained beside the unchanged recipe; what came of it stands with the finding, also next time."""
    code, out, err = flyweight("doctor", "@latest", "--no-probes", "--trial", "--seeds", "2", "--json")

    found = json.loads(out)
    assert code == 0
    assert found["run"] == with_a_run, "the runs of the trial are later, and are not what was asked for"
    assert "trying LR02" in err
    assert found["trials"]
    trials = {one["code"]: one for one in found["trials"]}
    assert len(trials["LR02"]["before"]) == len(trials["LR02"]["after"]) == 2
    again = json.loads(flyweight("doctor", with_a_run, "--no-probes", "--json")[1])
    assert {one["code"]: one["trial"] for one in again["findings"] if one["trial"]} == {
        code: trial["line"] for code, trial in trials.items()
    }


@pytest.mark.slow
def test_fixing_leads_from_a_broken_recipe_to_a_better_one(flyweight, recipe):
    """Each step is reported with what came of it; the file that is written holds the changes that helped and trains."""
    code, out, err = flyweight("doctor", recipe, *SLOW, "--set", "data.validation=80", "--fix", "fixed.toml")

    assert code == 0
    assert out.startswith("step 1\n1  LR02  fault")
    assert "  so         the change is kept" in out
    assert "  written    fixed.toml" in out
    assert "epoch" not in err
    assert max(map(len, out.splitlines())) <= 80
    fixed = load("fixed.toml")
    assert fixed.name == "fixed"
    assert fixed.train.lr > 1e-3
    assert flyweight("train", "fixed.toml")[0] == 0


@pytest.mark.slow
def test_a_fix_that_is_stopped_says_how_it_continues(flyweight, recipe):
    """What was kept is in the file, and the command that is printed continues from there to the end."""
    options = ["--set", "data.validation=80", "--fix", "fixed.toml", "--seeds", "6"]
    command = [sys.executable, "-m", "flyweight", "doctor", recipe, *SLOW, *options]
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "the change is kept" in line:
                break
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()

    assert process.returncode == 130
    assert load("fixed.toml").train.lr > 1e-3
    again = "flyweight doctor fixed.toml --fix fixed.toml --overwrite --seeds 6"
    assert f"  next       {again}" in out.splitlines()

    code, out, _ = flyweight(*again.split()[1:])
    assert code == 0
    assert "the fix is not finished" not in out
    assert load("fixed.toml").description.count("fixed by the doctor") == 1


CODE = """
train = datasets.MNIST("data", train=True)
test = datasets.MNIST("data", train=True)
loader = torch.utils.data.DataLoader(train, batch_size=64)
test_loader = torch.utils.data.DataLoader(test, batch_size=64)
"""


def test_a_script_of_others_is_read_and_not_run(flyweight):
    """Faults with their lines, in text and in JSON; what the script would do does not happen."""
    Path("theirs.py").write_text(f"from torchvision import datasets\nimport torch\n{CODE}\nopen('ran', 'w')\n")

    code, out, _ = flyweight("doctor", "--code", "theirs.py")
    found = json.loads(flyweight("doctor", "theirs.py", "--code", "--json")[1])

    assert code == 0
    assert "the test set is the training set" in out
    assert max(map(len, out.splitlines())) <= 80
    assert 5 in {one["line"] for one in found["findings"]}
    assert not Path("ran").exists()


@pytest.mark.parametrize(("name", "text"), [("broken.ipynb", "{"), ("broken.py", "def ("), ("missing.py", None)])
def test_code_that_cannot_be_read_is_one_clear_line(flyweight, name, text):
    """It names the file and leaves with the code of bad files."""
    if text is not None:
        Path(name).write_text(text)

    code, out, err = flyweight("doctor", "--code", name)

    assert (code, out) == (6, "")
    assert name in err
    assert "Traceback" not in err


def test_the_doctor_reports_during_a_run_and_lets_it_finish(flyweight, recipe):
    """What the recipe shows before the first step, what an epoch shows after it; each once."""
    code, _, err = flyweight("train", recipe, *SLOW, "--doctor", "warn")

    assert code == 0
    lines = [line for line in err.splitlines() if "doctor, " in line]
    assert any("doctor, before the run: LR02 fault" in line for line in lines)
    assert any("doctor, epoch 1: SI05 fault" in line for line in lines)
    assert len(lines) == len(set(lines))
    assert "epoch 2/2" in err


def test_the_doctor_stops_a_run_that_learns_nothing_and_it_can_continue(flyweight, recipe):
    """It ends with the code of failure, says why and what to type; the run resumes to its end."""
    code, out, err = flyweight("train", recipe, *SLOW, "--doctor", "stop")

    record = Store.open().get("@latest")
    assert (code, out) == (1, "")
    assert EXIT_CODES[1] == "failed"
    assert record.status == "interrupted"
    assert record.message.startswith("stopped by the doctor: SI05")
    assert f"why: flyweight doctor {record.id[:12]}" in err
    assert f"flyweight train --resume {record.id[:12]}" in err

    assert flyweight("doctor", record.id, "--no-probes")[0] == 0
    assert flyweight("train", "--resume", record.id)[0] == 0
    assert Store.open().get(record.id).status == "finished"


def test_a_seed_that_is_stopped_leaves_the_others_alone(flyweight, recipe):
    """Both seeds of a hopeless recipe are stopped, each on its own, and named."""
    code, _, err = flyweight("train", recipe, *SLOW, "--doctor", "stop", "--seeds", "2")

    assert code == 1
    assert {run.status for run in Store.open().runs()} == {"interrupted"}
    assert err.count("stopped by the doctor: SI05") >= 2


def test_a_run_that_is_monitored_takes_the_same_steps(flyweight, recipe):
    """The weights are those of the run that no one watched."""
    flyweight("train", recipe)
    alone = Store.open().get("@latest").id
    flyweight("train", recipe, "--doctor", "warn")
    watched = Store.open().get("@latest").id

    weights = [(Store.open().folder(run).path / "weights.safetensors").read_bytes()[-2000:] for run in (alone, watched)]
    assert alone != watched
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_diagnosis_of_a_recipe_takes_less_than_a_second():
    """From the start of the process to its end, the fastest of three."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "flyweight", "doctor", *HOT], capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)

    assert min(seconds) < 1.0


def test_the_change_that_is_proposed_makes_a_recipe(flyweight):
    """The command that is shown trains something: its changes are those of a recipe."""
    _, out, _ = flyweight("doctor", *HOT, "--json")

    (change,) = json.loads(out)["findings"][0]["remedy"]["changes"]
    assert load("own/8k", overrides=[change]).train.lr < 10
