"""`export`: a trained net as files of one target, compared with the net that it came from before they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files as packaged
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from flyweight import files
from flyweight.errors import UsageError, nearest
from flyweight.evidence.paired import paired_difference
from flyweight.export import card as cards
from flyweight.export import gate
from flyweight.export.arduino import arduino_files, arduino_paths
from flyweight.export.c import c_files, identifier
from flyweight.export.card import Int8Figures
from flyweight.export.format import IntegerFile, as_json
from flyweight.export.gate import Comparison
from flyweight.export.int8 import N_CALIBRATION, quantise
from flyweight.export.integer import IntegerNet, scores
from flyweight.export.micropython import micropython_file
from flyweight.export.subject import GateImages, Subject, subject
from flyweight.records.store import Store

Target: TypeAlias = Literal["onnx", "int8", "c", "arduino", "micropython", "safetensors", "card"]
TARGETS: Final[tuple[Target, ...]] = get_args(Target)
PURPOSE: Final = "export"
MAX_FALL_POINTS: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and the card of the net."""

    target: Target
    folder: Path
    paths: tuple[Path, ...]
    card: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"target": self.target, "files": [str(path) for path in self.paths], "card": self.card}

    def as_text(self) -> str:
        lines = [f"{name:20} {text}" for name, text in cards.lines(self.card) if name not in ("net", "classes")]
        sizes = [f"  {path}  {path.stat().st_size:,} bytes" for path in self.paths]
        return "\n".join([*lines, "written", *sizes])


def export(
    selector: str,
    to: str,
    *,
    out: Path | None = None,
    store: Store | None = None,
    gate_images: int = gate.DEFAULT_IMAGES,
    unchecked: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the net of a run, or of the best finished run of a recipe, for another place.

    to: "onnx" (float32 and int8), "c" (C99 sources), "int8" (the integer net as JSON, and its JavaScript),
    "arduino" (a library), "micropython" (one Python file), "safetensors", "card". out: a folder, by default one of the
    name of the net. unchecked: hand out also what cannot be compared on this machine.

    Raises:
        UsageError: an unknown target or run, a layer that cannot be exported, files that are there already.
        MissingError: no images or no C compiler. GateError: what was made computes something else; nothing is written.
    """
    if to not in TARGETS:
        raise UsageError(f"unknown target {to!r}; known: {', '.join(TARGETS)}.{nearest(to, TARGETS)}")
    target: Target = next(one for one in TARGETS if one == to)
    if not gate_images >= gate.LEAST_IMAGES:
        raise UsageError(f"--gate-images must be at least {gate.LEAST_IMAGES}, found {gate_images}.")
    store = Store.open() if store is None else store
    making = _Making(
        subject=subject(selector, store), store=store, n_images=gate_images, is_checked=not unchecked, say=say
    )
    folder = out or Path(f"{identifier(making.subject.name)}_{target}")
    names = making.names(target)
    for name in names:
        files.require_free(folder / name, overwrite=overwrite)
    texts, card = making.files(target)
    assert set(texts) == set(names)
    files.make_folder(folder)
    for name, content in texts.items():
        files.write_bytes(folder / name, content)
    return Exported(target=target, folder=folder, paths=tuple(folder / name for name in texts), card=card)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Making:
    """Makes the files of one export; what several need is made once."""

    subject: Subject
    store: Store
    n_images: int
    is_checked: bool
    say: Callable[[str], None]

    def names(self, target: Target) -> tuple[str, ...]:
        name = identifier(self.subject.name)
        match target:
            case "c":
                return (f"{name}.h", f"{name}.c", "main.c", "Makefile")
            case "onnx":
                return (f"{name}.onnx", f"{name}_int8.onnx")
            case "arduino":
                return arduino_paths(name)
            case "micropython":
                return (f"{name}.py",)
            case "int8":
                return (f"{name}.json", "int8.js")
            case "safetensors":
                return (f"{name}.safetensors",)
            case "card":
                return ("README.md", f"{name}.card.json")

    def files(self, target: Target) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files by name, and the card; all comparisons are made."""
        name = identifier(self.subject.name)
        if target in ("safetensors", "card"):
            card = self._card((), None)
            if target == "safetensors":
                return {f"{name}.safetensors": self.subject.weights.as_bytes()}, card
            return {"README.md": _bytes(cards.as_readme(card)), f"{name}.card.json": _json(card)}, card
        if target == "onnx":
            return self._onnx(name)
        comparisons = self._compared(target)
        card = self._card(comparisons, self._int8_figures())
        file = self._file(card)
        if target == "int8":
            script = packaged("flyweight.export").joinpath("int8.js").read_bytes()
            return {f"{name}.json": _bytes(as_json(file)), "int8.js": script}, card
        if target == "micropython":
            return {f"{name}.py": _bytes(micropython_file(file, card=cards.as_text(card)))}, card
        if target == "arduino":
            texts = arduino_files(
                file,
                card=cards.as_text(card),
                readme=cards.as_readme(card),
                images=self._images.pixels,
                parameters=card["parameters"],
            )
            return {path: _bytes(text) for path, text in texts.items()}, card
        sources = c_files(file, card=cards.as_text(card), images=self._images.pixels)
        return {path: text.encode("ascii") for path, text in sources.items()}, card

    def _onnx(self, name: str) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Both files. They are compared without the metadata, which has the result."""
        from flyweight.export import onnx_file

        onnx_file.require_onnx()
        net, folded, lowered = self._net, self.subject.folded, self.subject.lowered

        def made(facts: dict[str, str]) -> dict[str, bytes]:
            settings: dict[str, Any] = {"name": self.subject.name, "facts": facts, "batch": None}
            return {
                f"{name}.onnx": onnx_file.float_model(lowered, folded, **settings),
                f"{name}_int8.onnx": onnx_file.int8_model(net, folded, **settings),
            }

        comparisons: tuple[Comparison, ...] | None = None
        if self.is_checked:
            images = self._images
            self.say(f"comparing on {len(images.pixels):,} validation and training images ...")
            first, second = made({}).values()
            comparisons = (
                *gate.compare_folded(self.subject, images),
                gate.compare_onnx(first, self.subject, images),
                gate.compare_qdq(second, images, scores(net, images.pixels)),
            )
        card = self._card(comparisons, self._int8_figures())
        return made(dict(cards.lines(card))), card

    @cached_property
    def _images(self) -> GateImages:
        return self.subject.gate_images(self.n_images)

    @cached_property
    def _net(self) -> IntegerNet:
        self.say(f"choosing the integers of {self.subject.name} on training images ...")
        return quantise(self.subject.lowered, self.subject.folded, self.subject.calibration(N_CALIBRATION))

    def _file(self, card: dict[str, Any]) -> IntegerFile:
        return IntegerFile(
            name=self.subject.name, class_names=self.subject.weights.class_names, net=self._net, card=card
        )

    def _compared(self, target: Target) -> tuple[Comparison, ...] | None:
        """Every comparison of a target; None if none is wanted."""
        net = self._net
        if not self.is_checked:
            return None
        if target in ("c", "arduino"):
            gate.c_compiler()  # before the long part
        images = self._images
        self.say(f"comparing on {len(images.pixels):,} validation and training images ...")
        found = [*gate.compare_folded(self.subject, images)]
        wanted = scores(net, images.pixels)
        self._warn_of_fall(images, wanted)
        file = self._file({})
        if target == "micropython":
            found.append(gate.compare_micropython(micropython_file(file, card=""), images, wanted))
        elif target in ("c", "arduino"):
            sources = c_files(file, card="", images=images.pixels)
            found.append(gate.compare_c(file, sources, images, wanted))
        elif (javascript := gate.compare_javascript(file, images, wanted)) is not None:
            found.append(javascript)
        return tuple(found)

    def _warn_of_fall(self, images: GateImages, wanted: np.ndarray) -> None:
        """Say where int8 costs accuracy on validation images."""
        recorded = self.subject.folder.predictions("validation")
        n = min(len(recorded.labels), len(images.labels))
        if not n:
            return
        labels = images.labels[:n]
        before, after = recorded.predicted[:n] == labels, wanted[:n].argmax(1) == labels
        fall = 100 * (before.mean() - after.mean())
        if fall > MAX_FALL_POINTS:
            self.say(f"int8 loses {fall:.2f} points of accuracy on {n:,} validation images")

    def _int8_figures(self) -> Int8Figures:
        """The integer net on the test images, which are opened for it and counted."""
        folder, images = self.subject.folder, self.subject.images
        openings = self.store.open_test(self.subject.record.id, PURPOSE)
        folder.rewrite_result(replace(folder.result(), test_openings=openings))
        right = scores(self._net, images.test_images).argmax(1) == images.test_labels
        recorded = folder.predictions("test")
        was_right = recorded.predicted == recorded.labels
        change = paired_difference(int((right & ~was_right).sum()), int((was_right & ~right).sum()), len(right))
        return Int8Figures(correct=int(right.sum()), count=len(right), change=change)

    def _card(self, comparisons: Sequence[Comparison] | None, int8: Int8Figures | None) -> dict[str, Any]:
        return cards.values(self.subject, self.store, comparisons=comparisons, int8=int8)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8")


def _json(value: object) -> bytes:
    import json

    return _bytes(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
