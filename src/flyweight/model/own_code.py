"""The file behind a user's own module, "file:Class": found, trusted or refused, and only then run.

In: the text that names a module. Out: a file and its hash; for a trusted one, what it defines. A text is resolved to a
file without importing anything, since an import already runs code. Installed modules are never a source.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from flyweight.errors import UsageError, nearest
from flyweight.files import write_json
from flyweight.model.notation import is_own_module

MEMORY: Final = "trusted-code.json"
MAX_QUOTED: Final = 100
_INSTALLED: Final = ("stdlib", "platstdlib", "purelib", "platlib")


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """A file of a user and the name in it. content: the bytes that are hashed and run."""

    target: str
    path: Path
    name: str
    content: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def shown(target: str) -> str:
    """A text of others, quoted in an error: escaped and at most a line."""
    return repr(target if len(target) <= MAX_QUOTED else f"{target[:MAX_QUOTED]}...")


def find(target: str) -> OwnCode:
    """The file of "file:Class", also written "file.py:Class", "folder/file.py:Class" or "folder.file:Class".

    Raises:
        UsageError: another form, no such file, or one of an installed module. Nothing is imported or run.
    """
    file, colon, name = target.rpartition(":")
    if not (file and colon and name.isidentifier()):
        raise UsageError(
            f"net {shown(target)}: write your own module as 'file:Class', such as 'nets:Tiny' for class Tiny in "
            "nets.py."
        )
    if file == "__main__":
        raise UsageError(
            f"net {shown(target)}: '__main__' is another script in each process; write the name of the file in its "
            f"place, such as 'nets:{name}'."
        )
    try:
        path = next((path for path in _candidates(file) if path.is_file()), None)
        content = path.read_bytes() if path else b""
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"net {shown(target)}: cannot read its file: {found}.") from None
    if path is None:
        hint = nearest(file, [path.stem for path in Path.cwd().glob("*.py")])
        raise UsageError(
            f"net {shown(target)}: there is no {shown(file.removesuffix('.py') + '.py')} in {Path.cwd()}.{hint} "
            "Installed modules are no source of nets."
        )
    path = path.absolute()
    if is_installed(path):
        raise UsageError(
            f"net {shown(target)}: {path} belongs to an installed package, which is no source of nets; write a class "
            "in a file of your own that uses it."
        )
    return OwnCode(target=target, path=path, name=name, content=content)


def _candidates(file: str) -> list[Path]:
    if file.endswith(".py"):
        return [Path(file)]
    stem = file if "/" in file or "\\" in file else file.replace(".", "/").lstrip("/")
    return [Path(f"{stem}.py"), Path(stem, "__init__.py")]


def is_installed(path: Path) -> bool:
    """Whether a file belongs to the standard library, to an installed package, or to this one."""
    roots = [Path(sysconfig.get_path(one)).resolve() for one in _INSTALLED]
    roots.append(Path(__file__).resolve().parents[1])
    return any(
        any(one.is_relative_to(root) for root in roots) or {"site-packages", "dist-packages"} & set(one.parts)
        for one in (path, path.resolve())
    )


def memory() -> Path:
    """The file of the hashes that a user trusts; not in FLYWEIGHT_HOME, which may be a folder of somebody else."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("flyweight"), MEMORY)


# Hashes that were trusted in this process and could not be remembered.
_HERE: Final = set[str]()
# In a worker, the hash of its run: no other code is accepted.
_ONLY: Final = set[str]()


def _trusted() -> dict[str, str]:
    """Paths by hash."""
    try:
        found = json.loads(memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def trust(net: str) -> None:
    """Trust the file of a net as it is now, from now on; a net in notation has none.

    Raises:
        UsageError: as `find`.
    """
    if not is_own_module(net):
        return
    code, known = find(net), _trusted()
    if code.sha256 in known:
        return
    try:
        write_json(memory(), known | {code.sha256: str(code.path)})
    except OSError:
        _HERE.add(code.sha256)


def accept_only(sha256: str | None) -> None:
    """Accept this hash and no other in this process, which is a worker; None: no restriction."""
    _ONLY.clear()
    if sha256 is not None:
        _ONLY.add(sha256)


def hash_of(net: str) -> str | None:
    """The SHA-256 of the file of an own module; None for a net in notation."""
    return require_trusted(net).sha256 if is_own_module(net) else None


def require_trusted(target: str, *, trust_code: bool = False) -> OwnCode:
    """The file of an own module, if its hash is trusted; trust_code: it is from now on.

    Raises:
        UsageError: it is not, or it was when the file was another.
    """
    if trust_code:
        trust(target)
    code = find(target)
    if _ONLY:
        require_same(target, next(iter(_ONLY)))
        return code
    known = _trusted()
    if code.sha256 in known or code.sha256 in _HERE:
        return code
    state = "has changed since you trusted it" if str(code.path) in known.values() else "is not trusted"
    raise UsageError(
        f"net {shown(target)}: {code.path} {state}, and its code was not run; read it, then add --trust-code "
        "(in Python: trust_code=True)."
    )


def require_same(net: str, sha256: str | None) -> None:
    """Check that the file of a net is the one that a run has recorded, if it has.

    Raises:
        UsageError: another file, or none.
    """
    if sha256 is None or not is_own_module(net):
        return
    found = find(net)
    if found.sha256 != sha256:
        raise UsageError(
            f"net {shown(net)}: {found.path} is not the code that the run was trained with (SHA-256 "
            f"{found.sha256[:12]}, was {sha256[:12]}); restore the file."
        )


class _Loader(InspectLoader):
    """Runs the bytes that were hashed, not what a cache beside the file holds."""

    def __init__(self, code: OwnCode) -> None:
        self.code = code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002
        return decode_source(self.code.content)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return self.source_to_code(self.code.content, str(self.code.path))

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002
        return self.code.path.name == "__init__.py"


def executed(code: OwnCode) -> ModuleType:
    """The module that a trusted file defines; run once for the same bytes.

    Its name is its own, so that it takes no other module's place. Whatever the code raises is not caught.
    """
    name = f"own_{hashlib.sha256(str(code.path).encode() + code.content).hexdigest()[:16]}"
    folder = code.path.parent
    if folder.is_relative_to(Path.cwd()) and folder != Path.cwd():  # so that `from .blocks import Block` works
        parts = folder.relative_to(Path.cwd()).parts
        name = ".".join((*parts, name)) if all(part.isidentifier() for part in parts) else name
    if name in sys.modules:
        return sys.modules[name]
    spec = ModuleSpec(name, _Loader(code), origin=str(code.path), is_package=code.path.name == "__init__.py")
    spec.has_location = True
    if spec.submodule_search_locations is not None:
        spec.submodule_search_locations.append(str(folder))
    module = module_from_spec(spec)
    importlib.invalidate_caches()  # its imports may be newer than the cached listing of the folder
    sys.modules[name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def is_of_a_user(found: Any) -> bool:
    """Whether a class or function is defined in a file of a user: what that file has imported is no source."""
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    return file is not None and not is_installed(Path(file).absolute())


@contextmanager
def own_folder() -> Iterator[None]:
    """A context in which imports look in the current folder first, as with `python file.py`."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
