"""Exported C on an emulated Cortex-M4 and M0+: the same scores as numpy, and a stack that is measured.

QEMU counts no cycles, so nothing here is a time.
"""

import shutil
import subprocess

import numpy as np
import pytest

from flyweight.export.c import c_files, identifier
from flyweight.export.integer import scores
from tests.export.made_nets import made_net
from tests.export.test_integer import SEVERAL

TOOLS = [one for one in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(one) is None]
STACK = 4096

LINKER = """ENTRY(reset)
MEMORY { FLASH (rx): ORIGIN = 0x0, LENGTH = 4M  RAM (rwx): ORIGIN = 0x20000000, LENGTH = 1M }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) KEEP(*(.init)) KEEP(*(.fini)) *(.rodata*)
          *(.init_array*) *(.fini_array*) } > FLASH
  .ARM.exidx : { *(.ARM.exidx*) } > FLASH
  .data : { *(.data*) } > RAM
  .bss : { __bss_start__ = .; *(.bss*) *(COMMON) __bss_end__ = .; } > RAM
  end = .; __end__ = .;
}
"""
START = """extern void _start(void);
void reset(void);
__attribute__((section(".vectors"), used)) const void *const vectors[] = {(void *)0x20100000, (void *)reset};
__attribute__((naked)) void reset(void)
{
#ifdef __ARM_FP
    __asm volatile("ldr r0, =0xE000ED88\\n ldr r1, [r0]\\n orr r1, r1, #0xF00000\\n str r1, [r0]\\n dsb\\n isb");
#endif
    __asm volatile("ldr r0, =_start\\n bx r0");
}
"""


def board_main(name: str, size: int, n_classes: int) -> str:
    """Reads images from a file of the host, writes scores, and says how deep the stack was."""
    return f"""#include <stdio.h>
#include "{name}.h"
static uint8_t pixels[{size}];
static int32_t scores[{n_classes}];
static void __attribute__((noinline)) paint(void)
{{
    volatile uint8_t stack[{STACK}];
    for (int i = 0; i < {STACK}; i++)
        stack[i] = 0xA5;
}}
static int __attribute__((noinline)) depth(void)
{{
    volatile uint8_t stack[{STACK}];
    int i = 0;
    while (i < {STACK} && stack[i] == 0xA5)
        i++;
    return {STACK} - i;
}}
int main(void)
{{
    FILE *in = fopen("pixels", "rb"), *out = fopen("scores", "wb");
    int most = 0;
    while (fread(pixels, sizeof pixels, 1, in) == 1) {{
        paint();
        {name}_classify(pixels, scores);
        if (depth() > most)
            most = depth();
        fwrite(scores, sizeof scores, 1, out);
    }}
    fclose(out);
    printf("stack %d\\n", most);
    return 0;
}}
"""


@pytest.mark.skipif(
    bool(TOOLS), reason=f"not installed: {', '.join(TOOLS)} (apt install gcc-arm-none-eabi qemu-system-arm)"
)
@pytest.mark.parametrize("n", [2, pytest.param(500, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("machine", "options"),
    [
        ("mps2-an386", ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]),
        ("mps2-an386", ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-O3", "-DDRAWN_SMLAD"]),
        ("mps2-an385", ["-mcpu=cortex-m0plus"]),
    ],
    ids=["m4", "m4-smlad", "m0plus"],
)
@pytest.mark.parametrize("net", SEVERAL[:2])
def test_a_board_gives_the_same_scores(net, machine, options, n, tmp_path) -> None:
    """To the bit, with a stack of less than half a kilobyte."""
    made, _, images = made_net(net, (1, 13, 12), 2)
    images = np.resize(images, (n, *images.shape[1:]))
    name = identifier(made.name)
    texts = c_files(made, card="", images=images[:1])
    texts |= {"board.c": board_main(name, images[0].size, made.net.lowered.n_classes), "start.c": START, "ld": LINKER}
    for path, text in texts.items():
        (tmp_path / path).write_text(text)
    (tmp_path / "pixels").write_bytes(np.ascontiguousarray(images.transpose(0, 2, 3, 1)).tobytes())
    build = ["arm-none-eabi-gcc", "-mthumb", "-O2", *options, "--specs=rdimon.specs", "-T", "ld", "-o", "board.elf"]
    emulate = f"qemu-system-arm -M {machine} -nographic -monitor none -serial none -kernel board.elf".split()

    subprocess.run([*build, "start.c", "board.c", f"{name}.c"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [*emulate, "-semihosting-config", "enable=on,target=native"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )

    found = np.frombuffer((tmp_path / "scores").read_bytes(), "<i4").reshape(n, -1)
    assert np.array_equal(found, scores(made.net, images))
    assert 0 < int(done.stdout.split()[-1]) < 512
