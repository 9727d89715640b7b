"""Exported C: strict compilers accept it, sanitizers find nothing, and its scores are numpy's to the bit."""

import subprocess

import numpy as np
import pytest
from hypothesis import given, settings

from flyweight.export.c import c_files, identifier, quoted, source
from flyweight.export.format import IntegerFile
from flyweight.export.integer import scores
from tests.export.c_programs import COMPILERS, STRICT, many_scores
from tests.export.made_nets import exportable, made_net
from tests.export.test_integer import SEVERAL

SANITIZED = (*STRICT, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

pytestmark = pytest.mark.skipif(not COMPILERS, reason="neither gcc nor clang is installed")


def drawn_nets(n):
    found = []

    @settings(max_examples=n)
    @given(exportable())
    def draw(drawn):
        made, _, images = made_net(*drawn)
        file = IntegerFile(name=f"net {len(found)}", class_names=made.class_names, net=made.net)
        # Extreme pixels too: all black, all white, and a chessboard.
        extreme = np.stack([np.zeros_like(images[0]), np.full_like(images[0], 255)])
        found.append((file, np.concatenate([images[:3], extreme])))

    draw()
    return found


@pytest.mark.parametrize(
    ("compiler", "n"),
    [pytest.param(one, n, marks=[pytest.mark.soak] * (n > 10)) for one in COMPILERS for n in (8, 150)],
)
def test_random_nets_give_the_same_scores(compiler, n, tmp_path) -> None:
    """To the bit, for nets of every kind of layer, real and extreme pixels; without a warning."""
    nets = drawn_nets(n) + [
        (IntegerFile(name=f"several {seed} {c}", class_names=made.class_names, net=made.net), images)
        for seed, net in enumerate(SEVERAL)
        for c in (1, 3)
        for made, _, images in [made_net(net, (c, 13, 12), seed)]
    ]

    found = many_scores(tmp_path, nets, compiler=compiler)

    assert len(found) == len(nets) >= n
    for (file, images), answer in zip(nets, found, strict=True):
        assert np.array_equal(scores(file.net, images), answer), file.net.lowered.net


def test_sanitizers_find_nothing(tmp_path) -> None:
    """No access outside of an array, no overflow, no undefined shift."""
    nets = drawn_nets(15) + [
        (made_net(net, (3, 13, 12), 1)[0], made_net(net, (3, 13, 12), 1)[2]) for net in SEVERAL[:1]
    ]

    found = many_scores(tmp_path, nets, flags=SANITIZED)

    for (file, images), answer in zip(nets, found, strict=True):
        assert np.array_equal(scores(file.net, images), answer)


def test_the_program_tests_itself_and_reads_an_image(tmp_path) -> None:
    """`make test` runs 20 images; `main FILE` names the class of a PGM file or of raw bytes, and refuses others."""
    made, _, images = made_net(SEVERAL[0], (1, 12, 12), 3)
    for name, text in c_files(made, card="a card", images=images).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "one.pgm").write_bytes(b"P5\n12 12\n255\n" + images[0].tobytes())
    (tmp_path / "raw").write_bytes(images[0].tobytes())
    (tmp_path / "short").write_bytes(b"P5 12 12 255 123")
    best = made.class_names[int(scores(made.net, images[:1])[0].argmax())]

    tested = subprocess.run(["make", "test"], cwd=tmp_path, capture_output=True, text=True, check=True)
    answers = [
        subprocess.run([tmp_path / "main", tmp_path / name], capture_output=True, text=True, check=True).stdout
        for name in ("one.pgm", "raw")
    ]
    refused = subprocess.run([tmp_path / "main", tmp_path / "short"], capture_output=True, text=True)

    assert "self-test: 20 of 20 images as expected" in tested.stdout
    assert [answer.splitlines()[0] for answer in answers] == [best, best]
    assert refused.returncode == 1
    assert "must be a P5 image of 12 x 12 pixels, or 144 raw bytes" in refused.stderr


def test_there_is_no_float_and_no_library_in_the_source() -> None:
    """Only stdint.h, and string.h with SMLAD; all arrays but the memory of the maps are constant."""
    made, _, _ = made_net(SEVERAL[1], (1, 12, 12), 3)

    text = source(made, card="")

    assert not {"float", "double", "malloc", "math.h"} & set(text.replace("<", " ").replace(">", " ").split())
    assert [line for line in text.splitlines() if line.strip().startswith("static") and "[" in line and "=" in line]
    assert text.count("static uint8_t memory[") == 1


def test_a_header_is_one_of_cxx_too(tmp_path) -> None:
    """It can be included twice, and from C++."""
    made, _, images = made_net(SEVERAL[0], (1, 12, 12), 3)
    name = identifier(made.name)
    files = c_files(made, card="*/ ??/ \\", images=images)
    (tmp_path / f"{name}.h").write_text(files[f"{name}.h"])
    (tmp_path / "use.cpp").write_text(f'#include "{name}.h"\n#include "{name}.h"\nint main() {{ return 0; }}\n')

    subprocess.run(
        [COMPILERS[0], "-x", "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "use.cpp"], cwd=tmp_path, check=True
    )


@pytest.mark.parametrize("text", ['a"b', "back\\slash", "??/", "ü", "%d\n"])
def test_names_of_classes_are_c_strings(text, tmp_path) -> None:
    """Whatever a class is called, C has its bytes."""
    program = f"#include <stdio.h>\nint main(void) {{ fputs({quoted(text)}, stdout); return 0; }}\n"
    (tmp_path / "name.c").write_text(program)

    subprocess.run([COMPILERS[0], *STRICT, "-trigraphs", "-o", "name", "name.c"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "name"], capture_output=True, check=True)

    assert done.stdout.decode() == text
