"""Before a net is handed out, it is compared with the net that it came from.

Goes in: what was exported and images. Comes out: what was compared, or a `GateError` that names images that differ.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import GateError, MissingError
from flyweight.export.c import harness
from flyweight.export.format import IntegerFile, as_values
from flyweight.export.subject import GateImages, Subject
from flyweight.model.fold import BATCH, run

DEFAULT_IMAGES: Final = 10_000
LEAST_IMAGES: Final = 500
MAX_NAMED: Final = 5
MAX_PROBABILITY_GAP: Final = 1e-3  # what a run recorded was computed in float32, maybe on another machine
STRICT: Final = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")
SECONDS: Final = 600
MAX_LOGIT_GAP: Final = 1e-4  # of the largest logit, where that is above 1: float32 has 24 bits
MICROPYTHON_IMAGES: Final = 20  # about a second for each in Python
LEAST_QDQ: Final = 0.998


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison of the gate that found no difference, in words."""

    what: str
    n_images: int

    def __str__(self) -> str:
        return f"{self.what} on {self.n_images:,} images"


def compare_folded(subject: Subject, images: GateImages) -> tuple[Comparison, ...]:
    """The folded net against the probabilities that the run recorded for its validation images, if it has any.

    Raises:
        GateError: other probabilities.
    """
    recorded = subject.folder.predictions("validation")
    n = min(len(recorded.labels), len(images.pixels), LEAST_IMAGES)
    if not n:  # a final net, trained on all images
        return ()
    logits = run(subject.folded, images.pixels[:n])
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    gaps = np.abs(exponents / exponents.sum(1, keepdims=True) - recorded.probabilities[:n]).max(1)
    require_none(
        gaps > MAX_PROBABILITY_GAP, images.names, "the folded net has other probabilities than the run recorded"
    )
    what = f"folded net against the run, probabilities within {MAX_PROBABILITY_GAP:g}"
    return (Comparison(what=what, n_images=n),)


def require_none(differs: NDArray[np.bool_], names: Sequence[str], what: str) -> None:
    """Raises GateError with the names of the images that differ."""
    if differs.any():
        rows = np.flatnonzero(differs)
        shown = ", ".join(names[row] for row in rows[:MAX_NAMED])
        more = f" and {len(rows) - MAX_NAMED:,} more" if len(rows) > MAX_NAMED else ""
        raise GateError(
            f"{what}, on {len(rows):,} of {len(differs):,} images: {shown}{more}. "
            "Nothing was written; please report this with the run."
        )


def compare_c(
    file: IntegerFile, sources: Mapping[str, str], images: GateImages, wanted: NDArray[np.int32]
) -> Comparison:
    """The C source, compiled and run here, against numpy: all scores equal.

    Raises:
        GateError: other scores, or a source that does not compile. MissingError: no C compiler.
    """
    compiler = c_compiler()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in {**sources, "gate.c": harness(file)}.items():
            (folder / path).write_text(text, encoding="ascii")
        units = ["gate.c", *(path for path in sources if path.endswith(".c") and path != "main.c")]
        built = _done([compiler, *STRICT, "-o", "gate", *units], folder)
        if built.returncode:
            raise GateError(f"the C source does not compile with {compiler}: {_first_line(built.stderr)}")
        pixels = np.ascontiguousarray(images.pixels.transpose(0, 2, 3, 1)).tobytes()
        ran = _done([str(folder / "gate")], folder, pixels)
        if ran.returncode or len(ran.stdout) != wanted.nbytes:
            raise GateError(f"the C program stopped with code {ran.returncode}: {_first_line(ran.stderr)}")
    found = np.frombuffer(ran.stdout, np.int32).reshape(wanted.shape)
    require_none((found != wanted).any(1), images.names, "C has other scores than numpy")
    return Comparison(what=f"C ({Path(compiler).name}) against numpy, all scores equal", n_images=len(wanted))


def c_compiler() -> str:
    """$CC, or else cc, gcc or clang.

    Raises:
        MissingError: none of them is installed.
    """
    for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        if found := shutil.which(name):
            return found
    raise MissingError(
        "a C compiler is needed to compare the C source with the net, and neither cc, gcc nor clang is installed; "
        "install one (Debian: apt install gcc), or add --unchecked."
    )


def compare_javascript(file: IntegerFile, images: GateImages, wanted: NDArray[np.int32]) -> Comparison | None:
    """The JSON file in JavaScript against numpy: all scores equal; None where node is not installed.

    Raises:
        GateError: other scores.
    """
    node = shutil.which("node")
    if node is None:
        return None
    script = str(files("flyweight.export") / "int8.js")
    program = (
        "const f = require(process.argv[1]), fs = require('fs');"
        "const net = f.flyweightNet(JSON.parse(fs.readFileSync('net.json', 'utf8')));"
        "const pixels = fs.readFileSync('pixels'), n = net.input.height * net.input.width * net.input.channels;"
        "const found = [];"
        "for (let at = 0; at < pixels.length; at += n)"
        " found.push(...f.flyweightScores(net, pixels.subarray(at, at + n)));"
        "fs.writeFileSync('scores', Buffer.from(Int32Array.from(found).buffer));"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.json").write_text(json.dumps(as_values(file)), encoding="utf-8")
        (folder / "pixels").write_bytes(np.ascontiguousarray(images.pixels.transpose(0, 2, 3, 1)).tobytes())
        ran = _done([node, "-e", program, script], folder)
        if ran.returncode:
            raise GateError(f"the JavaScript program stopped with code {ran.returncode}: {_first_line(ran.stderr)}")
        found = np.frombuffer((folder / "scores").read_bytes(), np.int32).reshape(wanted.shape)
    require_none((found != wanted).any(1), images.names, "JavaScript has other scores than numpy")
    return Comparison(what="JavaScript (node) against numpy, all scores equal", n_images=len(wanted))


def compare_micropython(text: str, images: GateImages, wanted: NDArray[np.int32]) -> Comparison:
    """The Python file, run by micropython or else by this Python, against numpy on the first images.

    Raises:
        GateError: other scores.
    """
    found = shutil.which("micropython") or sys.executable
    n = min(MICROPYTHON_IMAGES, len(wanted))
    size = images.pixels[0].size
    program = (
        "import net\n"
        "with open('pixels', 'rb') as file:\n"
        f"    for _ in range({n}):\n"
        f"        print(*net.scores(file.read({size})))\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.py").write_text(text, encoding="ascii")
        (folder / "gate.py").write_text(program, encoding="ascii")
        (folder / "pixels").write_bytes(np.ascontiguousarray(images.pixels[:n].transpose(0, 2, 3, 1)).tobytes())
        ran = _done([found, "gate.py"], folder)
    if ran.returncode:
        raise GateError(f"the Python file stopped with code {ran.returncode}: {_first_line(ran.stderr)}")
    answers = np.array([line.split() for line in ran.stdout.decode().splitlines()], np.int64)
    require_none((answers != wanted[:n]).any(1), images.names, "the Python file has other scores than numpy")
    where = "MicroPython" if shutil.which("micropython") else "the Python file in CPython"
    return Comparison(what=f"{where} against numpy, all scores equal", n_images=n)


def compare_onnx(content: bytes, subject: Subject, images: GateImages) -> Comparison:
    """The float32 file in onnxruntime against the folded net: logits within 1e-4, and the same answers.

    Raises:
        GateError: other logits.
    """
    found, wanted = onnx_logits(content, images), run(subject.folded, images.pixels)
    best = np.sort(wanted, axis=1)[:, -2:]
    is_clear = best[:, -1] - best[:, 0] > 2 * MAX_LOGIT_GAP
    differs = np.abs(found - wanted).max(1) > MAX_LOGIT_GAP * np.maximum(1.0, np.abs(wanted).max(1))
    differs |= is_clear & (found.argmax(1) != wanted.argmax(1))
    require_none(differs, images.names, "the ONNX file has other logits than the net in onnxruntime")
    return Comparison(
        what=f"float32 ONNX (onnxruntime) against the net, logits within {MAX_LOGIT_GAP:g}", n_images=len(found)
    )


def compare_qdq(content: bytes, images: GateImages, wanted: NDArray[np.int32]) -> Comparison:
    """The int8 file in onnxruntime against our integers: nearly always the same answers.

    Raises:
        GateError: too few.
    """
    differs = onnx_logits(content, images).argmax(1) != wanted.argmax(1)
    if differs.mean() > 1 - LEAST_QDQ:
        require_none(differs, images.names, "the int8 ONNX file has other answers than the integer net")
    return Comparison(
        what=f"int8 ONNX (onnxruntime) against numpy, {1 - differs.mean():.2%} the same answers", n_images=len(wanted)
    )


def onnx_logits(content: bytes, images: GateImages) -> NDArray[np.float32]:
    """The logits of a file in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(["logits"], {"pixels": images.pixels[start : start + BATCH]})[0]
        for start in range(0, len(images.pixels), BATCH)
    ]
    return np.concatenate(parts)


def _done(command: Sequence[str], folder: Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False, timeout=SECONDS)  # noqa: S603


def _first_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[0][:200] if lines else "no message"


def facts(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    return [{"what": one.what, "images": one.n_images} for one in comparisons]
