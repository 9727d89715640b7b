"""Exported C, compiled and run on this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np

from flyweight.export.c import c_files, harness, identifier

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
COMPILERS = tuple(one for one in ("gcc", "clang") if shutil.which(one))


def write(folder: Path, made, images) -> list[str]:
    folder.mkdir(exist_ok=True)
    found = c_files(made, card="a card with */ and ?? in it\\", images=images)
    for name, text in {**found, "gate.c": harness(made)}.items():
        (folder / name).write_text(text)
    return [name for name in found if name.endswith(".c") and name != "main.c"]


def c_scores(folder: Path, made, images, *, compiler="gcc", flags=STRICT):
    sources = write(folder, made, images)
    subprocess.run([compiler, *flags, "-o", "gate", "gate.c", *sources], cwd=folder, check=True, capture_output=True)
    pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).tobytes()
    done = subprocess.run([folder / "gate"], input=pixels, capture_output=True, check=True)
    assert not done.stderr, done.stderr.decode()
    return np.frombuffer(done.stdout, "<i4").reshape(len(images), -1)


def many_scores(folder: Path, nets, *, compiler="gcc", flags=STRICT):
    """The scores of several nets of different names, compiled into one program."""
    folder.mkdir(exist_ok=True)
    sources, cases, includes = ["many.c"], [], []
    for number, (made, images) in enumerate(nets):
        name = identifier(made.name)
        found = c_files(made, card="a card", images=images)
        for file in (f"{name}.c", f"{name}.h"):
            (folder / file).write_text(found[file])
        sources.append(f"{name}.c")
        includes.append(f'#include "{name}.h"')
        cases.append(
            f"    for (i = 0; i < {len(images)}; i++) {{ read_all({images[0].size}); {name}_classify(pixels, scores);"
            f" fwrite(scores, 4, {made.net.lowered.n_classes}, stdout); }} /* {number} */"
        )
    most = max(images[0].size for _, images in nets)
    text = "\n".join(["#include <stdio.h>", "#include <stdlib.h>", *includes])
    text += f"\nstatic uint8_t pixels[{most}];\nstatic int32_t scores[4096];\n"
    text += "static void read_all(size_t n) { if (fread(pixels, 1, n, stdin) != n) exit(1); }\n"
    text += "int main(void)\n{\n    int i;\n" + "\n".join(cases) + "\n    return 0;\n}\n"
    (folder / "many.c").write_text(text)
    subprocess.run([compiler, *flags, "-o", "many", *sources], cwd=folder, check=True)
    pixels = b"".join(np.ascontiguousarray(images.transpose(0, 2, 3, 1)).tobytes() for _, images in nets)
    done = subprocess.run([folder / "many"], input=pixels, capture_output=True, check=True)
    values, start, answers = np.frombuffer(done.stdout, "<i4"), 0, []
    for made, images in nets:
        size = len(images) * made.net.lowered.n_classes
        answers.append(values[start : start + size].reshape(len(images), -1))
        start += size
    assert start == len(values)
    return answers
