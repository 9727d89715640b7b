"""What is foretold of the C export, against what a compiler makes of it."""

import shutil
import subprocess

import pytest

from flyweight.export.c import c_files
from flyweight.model.count import count
from flyweight.model.int8_cost import int8_cost
from flyweight.model.lowered import lower
from flyweight.recipe import load
from tests.export.made_nets import made_net
from tests.export.test_integer import SEVERAL

NETS = [load(name).model.net for name in ("own/20k-fast", "own/8k")] + SEVERAL
ARM = shutil.which("arm-none-eabi-gcc")


def sizes(net, folder, compiler, size, *options):
    """(flash, static RAM) of the compiled source of a net of random weights."""
    made, _, images = made_net(net, (1, 28, 28), 0)
    for name, text in c_files(made, card="", images=images).items():
        (folder / name).write_text(text)
    subprocess.run([compiler, *options, "-Os", "-std=c99", "-c", "drawn.c"], cwd=folder, check=True)
    told = subprocess.run([size, "drawn.o"], cwd=folder, capture_output=True, text=True, check=True).stdout
    text, data, bss = map(int, told.splitlines()[-1].split()[:3])
    return text + data, bss


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("size") is None, reason="gcc or size is missing")
@pytest.mark.parametrize("net", NETS)
def test_ram_is_exact(net, tmp_path) -> None:
    """Nothing but the maps is static memory."""
    _, ram = sizes(net, tmp_path, "gcc", "size")

    assert abs(ram - int8_cost(lower(net, (1, 28, 28))).ram) < 32  # a large array is aligned on this machine


@pytest.mark.skipif(ARM is None, reason="arm-none-eabi-gcc is not installed")
@pytest.mark.parametrize("net", NETS)
def test_flash_and_ram_of_a_cortex_m4(net, tmp_path) -> None:
    """Flash within 5 %, RAM to the byte."""
    flash, ram = sizes(net, tmp_path, ARM, "arm-none-eabi-size", "-mthumb", "-mcpu=cortex-m4")

    foretold = int8_cost(lower(net, (1, 28, 28)))
    assert foretold.ram == ram
    assert abs(foretold.flash / flash - 1) <= 0.05


def test_a_net_that_cannot_be_exported_has_no_figures() -> None:
    """Such as one whose output is not flat."""
    assert count("c8 r").int8_export is None
    assert count("c8 r gap flat fc10").int8_export is not None
