"""Own code runs only if its file is trusted; a recipe, a run or a file of weights of others names none."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from flyweight.cli.app import run as command
from flyweight.errors import FlyweightError, UsageError
from flyweight.execute.process_executor import Processes
from flyweight.execute.seeds import run_seeds
from flyweight.experiment.plan import plan
from flyweight.experiment.run import run
from flyweight.inference.net import load
from flyweight.model import own_code
from flyweight.model.count import count
from flyweight.model.trace import load_module
from flyweight.recipe import loads
from flyweight.records.store import Store
from tiny import tiny_recipe

OF_PYTHON = """
os:abort os:_exit os:getcwd os.path:exists sys:exit subprocess:Popen subprocess:run shutil:rmtree http.server:test
socketserver:TCPServer socket:socket ftplib:test smtplib:SMTP telnetlib:Telnet webbrowser:open antigravity:geohash
this:s code:interact pdb:set_trace cProfile:run profile:run timeit:main trace:main doctest:testmod unittest:main
pydoc:browse pydoc:gui idlelib.idle:main tkinter:_test turtle:demo1 turtledemo.clock:main ensurepip:bootstrap
venv:main zipapp:main compileall:main py_compile:main tabnanny:main pickletools:dis pickle:loads marshal:loads
ctypes:CDLL ctypes.util:test runpy:run_module importlib:import_module builtins:exec builtins:eval builtins:input
builtins:exit posix:abort posix:fork pty:spawn pty:fork signal:pause time:sleep threading:Thread faulthandler:_sigsegv
multiprocessing:Process asyncio:run tempfile:mkdtemp os.py:abort ./os.py:abort json.tool:main sqlite3:connect
""".split()  # noqa: SIM905
OF_TORCH = """
torch:load torch:save torch:compile torch:seed torch:manual_seed torch:set_num_threads torch.hub:load torch.hub:list
torch.hub:download_url_to_file torch.utils.cpp_extension:load torch.utils.cpp_extension:load_inline
torch.distributed.run:main torch.distributed.launch:main torch.multiprocessing:spawn torch.jit:load torch.jit:script
torch.onnx:export torch.nn:Identity torch.nn:Flatten torch.nn:Linear torch.nn.modules:ReLU torch.nn.functional:relu
torch.utils.collect_env:main torch.utils.bottleneck:main
torch.utils.tensorboard:SummaryWriter torch.package:PackageImporter
torch.profiler:profile torch.autograd:grad torch.cuda:init torch.cuda:empty_cache torch.backends.cudnn:version
torch.ops:load_library torch._dynamo:reset torch._inductor:compile torch.fx:symbolic_trace torch.serialization:load
torch.storage:UntypedStorage torch.testing._internal.common_utils:run_tests torch.random:seed torch.linalg:inv
torch.sparse:sum torch.special:erf torch.fft:fft torch.distributions:Normal torch.optim:SGD torch.utils.data:DataLoader
torch.utils.checkpoint:checkpoint numpy:load numpy.f2py:main PIL.Image:open scipy:test safetensors:safe_open
""".split()  # noqa: SIM905

WATCHED = """
import sys, json
from flyweight.cli.check import check
from flyweight.cli.app import run
from flyweight.experiment.plan import plan, examine
from flyweight.recipe import loads
from flyweight.model.count import count
from flyweight.model.trace import load_module
from flyweight.errors import FlyweightError
import flyweight.records.record

plan(loads('name = "warm"\\n[model]\\nnet = "flat fc10"\\n'))
try:
    count("not_there:Net")
except FlyweightError:
    pass
seen = []
sys.addaudithook(lambda event, values: seen.append((event, str(values))) if watching and (
    event in ("import", "exec", "compile") or event.startswith(("os.", "subprocess.", "socket.", "ctypes."))
    and event not in ("os.listdir", "os.scandir")) else None)
watching, refused = False, 0
for target in sys.argv[1:]:
    before = set(sys.modules)
    watching = True
    for call in (lambda: count(target), lambda: count(target, trust_code=True),
                 lambda: plan(loads(f'name = "theirs"\\n[model]\\nnet = "{target}"\\n')).require()):
        try:
            call()
        except FlyweightError as error:
            refused += error.exit_code == 2
    watching = False
    seen += [("module", name) for name in set(sys.modules) - before]
print(json.dumps([refused, seen]))
"""


def test_no_callable_of_python_or_torch_is_imported_or_called(tmp_path: Path) -> None:
    """A hundred of them, by `count` and by a recipe, also where everything is trusted: nothing is even imported."""
    targets = OF_PYTHON + OF_TORCH
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)

    done = subprocess.run([sys.executable, script, *targets], cwd=tmp_path, capture_output=True, text=True, check=True)
    refused, seen = json.loads(done.stdout)

    assert len(set(targets)) >= 100
    assert (refused, seen) == (3 * len(targets), [])


NET = """
import pathlib
from functools import partial
from os import abort
from torch import nn
from torch.nn import Identity

pathlib.Path("ran").touch()


class Tiny(nn.Sequential):
    def __init__(self, classes=10):
        super().__init__(nn.MaxPool2d(4), nn.Flatten(), nn.Linear(49, classes))


def made():
    return Tiny()


ready = Tiny()
few = partial(Tiny, classes=10)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a user's file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NET)
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))
    return tmp_path


def toml(folder: Path, net: str = "nets:Tiny") -> str:
    path = tiny_recipe_file(folder, net)
    return str(path)


def tiny_recipe_file(folder: Path, net: str) -> Path:
    from flyweight.recipe import dumps

    path = folder / "theirs.toml"
    path.write_text(dumps(tiny_recipe(folder, f"model.net={net}", "train.epochs=1")))
    return path


def test_a_recipe_of_others_runs_no_code_until_it_is_trusted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check`, `show`, `train` and `doctor` refuse it; --trust-code runs the file and remembers its hash."""
    recipe = toml(folder)

    codes = [command([verb, recipe]) for verb in ("check", "show", "train", "doctor")]

    printed = "".join(capsys.readouterr())
    assert codes == [2, 2, 2, 2]
    assert printed.count("is not trusted, and its code was not run") == 4
    assert not (folder / "ran").exists()
    assert command(["check", recipe, "--trust-code"]) == 0
    assert "files that it imports are not covered" in capsys.readouterr().out
    assert (folder / "ran").exists()
    assert list(json.loads(own_code.memory().read_text())) == [hashlib.sha256(NET.encode()).hexdigest()]
    assert [command([verb, recipe]) for verb in ("check", "show", "train")] == [0, 0, 0]


def test_code_that_was_changed_is_not_trusted_any_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says so."""
    recipe = toml(folder)
    command(["check", recipe, "--trust-code"])
    (folder / "nets.py").write_text(NET + "\n")
    (folder / "ran").unlink()

    code = command(["check", recipe])

    assert (code, "has changed since you trusted it" in capsys.readouterr().out) == (2, True)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("typed", ["nets:Tiny", "nets.py:Tiny", "./nets.py:made", "nets:ready", "nets:few"])
def test_what_is_typed_is_trusted(folder: Path, typed: str) -> None:
    """A class, a function or an instance, named as an argument."""
    assert command(["show", typed]) == 0
    assert (folder / "ran").exists()


@pytest.mark.parametrize("name", ["abort", "Identity", "pathlib", "nn", "partial"])
def test_what_a_trusted_file_imports_is_no_source(folder: Path, name: str) -> None:
    """A recipe of others cannot call it through the file."""
    own_code.trust("nets:Tiny")

    with pytest.raises(UsageError, match=r"must be"):
        count(f"nets:{name}")


def test_a_compiled_file_beside_the_source_is_not_run(folder: Path) -> None:
    """The bytes that run are those that were hashed."""
    (folder / "evil.py").write_text("import pathlib\npathlib.Path('evil').touch()\n" + NET)
    code = "import py_compile; py_compile.compile('evil.py', cfile='c.pyc', invalidation_mode=%s)"
    mode = "py_compile.PycInvalidationMode.UNCHECKED_HASH"
    subprocess.run([sys.executable, "-c", code % mode], check=True, cwd=folder)
    (folder / "__pycache__").mkdir()
    (folder / "c.pyc").rename(folder / "__pycache__" / f"nets.{sys.implementation.cache_tag}.pyc")

    count("nets:Tiny", trust_code=True)

    assert not (folder / "evil").exists()


def test_a_package_is_not_imported_to_find_a_file_in_it(folder: Path) -> None:
    """An import of the folder would run its __init__.py."""
    (folder / "theirs").mkdir()
    (folder / "theirs/__init__.py").write_text("import pathlib\npathlib.Path('parent').touch()\n")
    (folder / "theirs/nets.py").write_text(NET)

    for target in ("theirs.nets:Tiny", "theirs/nets.py:Tiny", "theirs:Tiny"):
        with pytest.raises(UsageError, match="is not trusted"):
            count(target)

    assert not (folder / "parent").exists()
    assert count("theirs/nets.py:Tiny", trust_code=True).params == 500


def test_a_link_into_an_installed_package_is_no_source(folder: Path) -> None:
    """Nor is a path of it."""
    (folder / "linked.py").symlink_to(subprocess.__file__)

    for target in ("linked:Popen", f"{subprocess.__file__}:Popen", f"{pytest.__file__}:main"):
        with pytest.raises(UsageError, match="belongs to an installed package"):
            count(target, trust_code=True)


def test_a_run_is_used_only_with_its_own_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`predict`, `load`, `doctor` and `--resume` refuse a trusted file that is not that of the run."""
    store = Store.open(home=folder / "home")
    record = run(tiny_recipe(folder, "model.net=nets:Tiny", "train.epochs=1"), seed=0, store=store, trust_code=True)
    assert record.own_code == hashlib.sha256(NET.encode()).hexdigest()
    assert load(record.id, store=store).input_shape == (1, 28, 28)
    (folder / "nets.py").write_text(NET + "# changed\n")
    own_code.trust("nets:Tiny")
    (folder / "seven.png").write_bytes(b"")

    with pytest.raises(UsageError, match="is not the code that the run was trained with"):
        load(record.id, store=store)
    codes = [command([verb, record.id, *more]) for verb, more in (("predict", ["seven.png"]), ("doctor", []))]

    printed = capsys.readouterr().err
    assert (codes, printed.count("\n"), printed.count("is not the code that")) == ([2, 2], 2, 2)


def test_the_hash_on_record_does_not_trust_itself(folder: Path) -> None:
    """A database or a run folder of others names code as little as a recipe does."""
    store = Store.open(home=folder / "home")
    record = run(tiny_recipe(folder, "model.net=nets:Tiny", "train.epochs=1"), seed=0, store=store, trust_code=True)
    own_code.memory().unlink()

    with pytest.raises(UsageError, match="is not trusted"):
        load(record.id, store=store)
    assert load(record.id, store=store, trust_code=True).data


def test_a_worker_accepts_the_code_of_its_run_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the hash could not be remembered; other trusted code is refused."""
    recipe = tiny_recipe(folder, "model.net=nets:Tiny", "train.epochs=1")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "nets.py"))

    records = run_seeds(
        recipe,
        seeds=range(2),
        store=Store.open(home=folder / "home"),
        executor=Processes(device="cpu"),
        trust_code=True,
    )

    assert [record.status for record in records] == ["finished"] * 2
    own_code.accept_only("0" * 64)
    try:
        with pytest.raises(UsageError, match="is not the code that the run was trained with"):
            plan(recipe).require()
    finally:
        own_code.accept_only(None)
        own_code._HERE.clear()


@pytest.mark.parametrize(
    "target",
    """
    ""|:|a:|:b|__main__:Net|\0:Net|LONG:Net|a/../..:Net|nets:Tiny\n|nets:__import__|nets.py/:Tiny|..:Net|/:Net|~/nets:Net
    nets:Tiny.mro|C:\\nets.py:Net|\x1b[2Jnets:Net|/dev/zero:Net|\u202enets:Net
    """.replace("LONG", "x" * 100_000).split("|"),
)
def test_what_names_no_file_is_one_line(folder: Path, target: str) -> None:
    """Escaped, short, exit code 2."""
    own_code.trust("nets:Tiny")

    with pytest.raises(FlyweightError) as caught:
        load_module(target)

    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_a_recipe_text_names_nothing_in_python_either(folder: Path) -> None:
    """`trust_code=True` is the programmer's word for it."""
    recipe = loads('name = "theirs"\n[model]\nnet = "nets:Tiny"\n')

    assert "is not trusted" in plan(recipe).faults[0]
    assert not (folder / "ran").exists()
