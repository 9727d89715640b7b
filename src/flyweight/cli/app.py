"""The command line: the table of verbs, error messages and exit codes.

Each verb parses its options, makes one call and prints; its code is in the file of the same name.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from flyweight import __version__
from flyweight.cli.bench import bench
from flyweight.cli.check import check
from flyweight.cli.compare import compare
from flyweight.cli.data import data
from flyweight.cli.doctor.command import doctor
from flyweight.cli.export import export
from flyweight.cli.journal import journal
from flyweight.cli.journey import journey
from flyweight.cli.output import talk
from flyweight.cli.page import page
from flyweight.cli.predict import predict
from flyweight.cli.recipes import copy, recipes
from flyweight.cli.runs import report, rm, runs
from flyweight.cli.search import search
from flyweight.cli.show import show
from flyweight.cli.tracking import sync
from flyweight.cli.train import train
from flyweight.cli.usage import message_of, name_arguments
from flyweight.errors import EXIT_CODES, FlyweightError, UsageError, needs_torch, plain_error

VERBS: Final[dict[str, Any]] = {
    "train": train,
    "search": search,
    "show": show,
    "check": check,
    "recipes": recipes,
    "copy": copy,
    "data": data,
    "runs": runs,
    "report": report,
    "rm": rm,
    "doctor": doctor,
    "compare": compare,
    "journal": journal,
    "journey": journey,
    "predict": predict,
    "page": page,
    "export": export,
    "sync": sync,
    "bench": bench,
}

OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000  # Python's default is 700

OUR_FAULT: Final = (
    "this is a fault of flyweight, not yours. Please report it as an issue of its repository, with the command, all "
    f"lines above (flyweight {__version__}, Python {platform.python_version()}, {sys.platform}) and the output of: "
    "flyweight doctor --environment"
)

HELP: Final = "The best image classifier that fits a parameter budget, with evidence."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its documented exit code."""
    # Reading thousands of records creates objects that stay alive: searching them for cycles takes a tenth of the time.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    code = run(sys.argv[1:] if arguments is None else arguments)
    # The collection at exit visits every imported module: a third of a second with scipy and matplotlib.
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code, one of `flyweight.errors.EXIT_CODES`."""
    app = application()
    if arguments and arguments[0] == "help":  # as git and others have it
        arguments = [*arguments[1:], "--help"]
    try:
        with needs_torch("this command"):
            code = app(list(arguments), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        talk(f"flyweight: {message_of(error, app)}")
        return UsageError.exit_code
    except FlyweightError as error:
        talk(f"flyweight: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        talk("flyweight: stopped.")
        return 130
    except BrokenPipeError:
        # The reader closed the pipe (`| head`); Python would report the error again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        known = plain_error(error)
        if known is not None:
            talk(f"flyweight: {known}")
            return known.exit_code
        traceback.print_exc()
        talk(f"flyweight: {OUR_FAULT}")
        return FlyweightError.exit_code
    return code if isinstance(code, int) else 0


def application() -> App:
    """The application with all verbs; a verb's help is its docstring."""
    exit_codes = ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    app = App(
        name="flyweight",
        help=HELP,
        help_epilogue=f"Exit codes: {exit_codes}.",
        version=__version__,
        version_flags=("--version", "-V", "-v"),
        result_action="return_value",
    )
    for name, verb in VERBS.items():
        app.command(verb, name=name)
    name_arguments(app, "flyweight")
    app.register_install_completion_command(
        help="Complete commands and options with Tab: writes a script for your shell (bash, zsh or fish) and loads it."
    )
    return app
