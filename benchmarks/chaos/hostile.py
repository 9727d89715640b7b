"""Files of others, servers that lie, and texts: each is read, or refused in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Final

from PIL import Image

from benchmarks.chaos.laboratory import Laboratory
from benchmarks.chaos.record import Trials
from flyweight.data.catalogue import Place, RemoteFile
from flyweight.data.downloads import fetch
from flyweight.data.sources import load as load_images
from flyweight.errors import FlyweightError
from flyweight.inference.net import load as load_net
from flyweight.model.count import count
from flyweight.recipe import loads

MAX_ERROR: Final = 2_000
WHAT = "hello " * 1_000
# What notations and recipes are put together from.
TOKENS: Final = "c8nb bn r m2 gap flat fc10 [ ] x3 ( ) | do.1 d3 /2 + ^ a2 gmp silu ls 16 . , -1 99999999999 \x1b"
ALPHABET: Final = tuple(TOKENS.split(" "))
NAMES: Final = "name model.net data.name data.validation train.epochs train.lr augment.rotate budget.params extends a"
KEYS: Final = tuple(NAMES.split(" "))
VALUES: Final = (
    "1",
    "-1",
    "0.5",
    "1e400",
    "nan",
    "true",
    '"c8 flat fc10"',
    '"mnist"',
    '""',
    "[]",
    "{}",
    "9" * 20,
    "[1,",
)


def hostile(lab: Laboratory) -> Iterator[Trials]:
    """Files, downloads, notations and recipes."""
    made = list(_files(lab))
    yield Trials(
        name="malicious file",
        promise="one line of error, nothing run, no memory beyond the limit",
        n=len(made),
        n_small=len(made),
        one=lambda number, _draw: _refused(*made[number]),
    )
    lies = list(LIES)
    yield Trials(
        name="download that lies",
        promise="one line of error, no file in the cache",
        n=len(lies),
        n_small=2,
        one=lambda number, _draw: _downloaded(lab, lies[number]),
    )
    promise = "counted or one short line of error"
    yield Trials(name="notation", promise=promise, n=50_000, n_small=2_000, one=lambda _n, draw: _notation(draw))
    yield Trials(name="recipe", promise=promise, n=50_000, n_small=1_000, one=lambda _n, draw: _recipe(draw))


def _refused(name: str, read: Callable[[], object]) -> tuple[str, str]:
    try:
        read()
    except FlyweightError as error:
        return ("refused", "") if len(str(error)) <= MAX_ERROR else ("long", f"{name}: {len(str(error)):,} characters")
    except Exception as error:
        return "raised", f"{name}: {type(error).__name__}: {str(error)[:200]}"
    return "read", f"{name}: was read"


def _files(lab: Laboratory) -> Iterator[tuple[str, Callable[[], object]]]:
    """Names of files, and how each is read."""
    folder = lab.folder / "hostile"
    folder.mkdir(exist_ok=True)
    store, record = lab.finished_run()
    net = load_net(record.id, store=store)
    weights = store.folder(record.id).file("weights").read_bytes()
    digits = lab.images.read_bytes()
    for name, content in _pictures():
        path = folder / name
        path.write_bytes(content)
        yield name, partial(net.predict, [path])
    for name, content in _sets(digits):
        path = folder / name
        path.write_bytes(content)
        yield name, partial(load_images, str(path))
    for name, content in _weights(weights):
        path = folder / name
        path.write_bytes(content)
        yield name, partial(load_net, path)
    for name, content in _idx():
        inside = folder / name
        inside.mkdir(exist_ok=True)
        for part in ("train", "t10k"):
            (inside / f"{part}-images-idx3-ubyte").write_bytes(content)
            (inside / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 4) + bytes(4))
        yield name, partial(load_images, str(inside))


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (28, 28), 7).save(stream, "PNG")
    return stream.getvalue()


def _pictures() -> Iterator[tuple[str, bytes]]:
    png = _png()
    yield "cut.png", png[: len(png) // 2]
    yield "empty.png", b""
    yield "text.png", b"<html><script>alert(1)</script></html>"
    yield "pickle.png", b"cos\nsystem\n(S'true'\ntR."
    for side in (20_000, 200_000, 2**31 - 1):  # a bomb: few bytes, many pixels
        header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        yield f"bomb{side}.png", png[:8] + chunk + png[33:]
    yield "no_pixels.png", png[:16] + struct.pack(">II", 0, 0) + png[24:]
    for kind in ("gif", "bmp", "tiff", "webp", "jpeg", "ppm", "ico", "pcx"):
        stream = io.BytesIO()
        Image.new("L", (28, 28)).save(stream, kind.upper())
        content = stream.getvalue()
        yield f"cut.{kind}", content[: len(content) // 3]
    yield "script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(true) system\n"
    yield "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def _sets(digits: bytes) -> Iterator[tuple[str, bytes]]:
    yield "cut.npz", digits[: len(digits) // 2]
    yield "empty.npz", b""
    yield "text.npz", b"no archive"
    yield "middle.npz", digits[:5_000] + bytes(100) + digits[5_100:]
    for name, header in (
        ("huge shape", b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 28, 28)}"),
        ("negative shape", b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 28, 28)}"),
        ("objects", b"{'descr': '|O', 'fortran_order': False, 'shape': (4,)}"),
        ("code", b"__import__('os').system('true')"),
        ("deep", b"(" * 5_000),
        ("no keys", b"{}"),
    ):
        yield f"{name}.npz", _npz(header)
    yield "missing.npz", _zip({"x_train.npy": b""})
    yield "zip bomb.zip", _zip({"a/1.png": bytes(50_000_000)})
    yield "climbing.zip", _zip({"../../climbed.png": _png()})
    yield "absolute.zip", _zip({"/climbed.png": _png()})
    yield "cut.zip", _zip({"a/1.png": _png()})[:60]
    yield "empty.zip", _zip({})
    yield "ragged.csv", b"label,a,b\n1,2\n3\n"
    yield "words.csv", b"label,pixel1\nx,hello\n"
    yield "bytes.csv", bytes(range(256)) * 10
    yield "quote.csv", b'label,pixel1\n"1,2\n' * 1_000
    yield "infinite.csv", b"label,pixel1\n1,inf\n2,nan\n"


def _npz(header: bytes) -> bytes:
    header = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    return _zip({f"{name}.npy": array for name in ("x_train", "y_train", "x_test", "y_test")})


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _weights(good: bytes) -> Iterator[tuple[str, bytes]]:
    length = int.from_bytes(good[:8], "little")
    header, values = json.loads(good[8 : 8 + length]), good[8 + length :]

    def written(changed: dict[str, object]) -> bytes:
        text = json.dumps(changed).encode()
        return len(text).to_bytes(8, "little") + text + values

    facts = header["__metadata__"]
    yield "cut.safetensors", good[:-50]
    yield "empty.safetensors", b""
    yield "long header.safetensors", b"\xff" * 8 + good[8:]
    yield "no facts.safetensors", written({key: value for key, value in header.items() if key != "__metadata__"})
    for name, change in (
        ("code", {"net": "os:abort"}),
        ("own code", {"net": "nets:Tiny"}),
        ("bad net", {"net": "c8 (("}),
        ("huge net", {"net": "c4096 " * 500 + "flat fc10"}),
        ("other net", {"net": "c9 flat fc10"}),
        ("shape", {"input_shape": "1,99999999,99999999"}),
        ("letters", {"input_shape": "a,b,c"}),
        ("mean", {"mean": "nan"}),
        ("std", {"std": "0.0"}),
        ("classes", {"classes": "[" * 5_000}),
    ):
        yield f"{name}.safetensors", written({**header, "__metadata__": {**facts, **change}})
    names = [key for key in header if key != "__metadata__"]
    yield "missing tensor.safetensors", written({key: value for key, value in header.items() if key != names[0]})
    yield (
        "renamed tensor.safetensors",
        written({(f"../{key}" if key == names[0] else key): header[key] for key in header}),
    )
    yield "nan.safetensors", good[: 8 + length] + b"\xff" * len(values)


def _idx() -> Iterator[tuple[str, bytes]]:
    yield "idx huge", struct.pack(">4BIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    yield "idx cut", struct.pack(">4BIII", 0, 0, 8, 3, 4, 28, 28) + bytes(100)
    yield "idx long", struct.pack(">4BIII", 0, 0, 8, 3, 4, 28, 28) + bytes(4 * 784 + 1)
    yield "idx type", struct.pack(">4BIII", 0, 0, 99, 3, 4, 28, 28) + bytes(4 * 784)
    yield "idx text", b"<html>not found</html>"


GOOD: Final = gzip.compress(WHAT.encode(), mtime=0)
LIES: Final = ("too short", "too long", "other bytes", "endless", "redirected to a file", "not found", "closed at once")


@contextmanager
def _server(lie: str) -> Iterator[str]:
    class Lying(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if lie == "not found":
                self.send_error(404)
                return
            if lie == "closed at once":
                self.connection.close()
                return
            if lie == "redirected to a file":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
                return
            self.send_response(200)
            body = {"too short": GOOD[:-9], "too long": GOOD + b"more", "other bytes": GOOD[::-1]}.get(lie, GOOD)
            self.send_header("Content-Length", str(2**40 if lie == "endless" else len(body)))
            self.end_headers()
            with suppress(OSError):
                for _ in range(2**14 if lie == "endless" else 1):
                    self.wfile.write(bytes(2**16) if lie == "endless" else body)

        def log_message(self, *_given: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Lying)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/file.gz"
    finally:
        server.shutdown()
        server.server_close()


def _downloaded(lab: Laboratory, lie: str) -> tuple[str, str]:
    folder = lab.home()
    checksum = f"sha256:{hashlib.sha256(GOOD).hexdigest()}"
    with _server(lie) as url:
        file = RemoteFile(name="file.gz", places=(Place(url=url, checksum=checksum),))
        outcome, miss = _refused(lie, lambda: fetch([file], folder, attempts=1))
    left = sorted(path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return outcome, miss or (f"{lie}: left {left}" if left else "")


def _notation(draw: Random) -> tuple[str, str]:
    text = " ".join(draw.choice(ALPHABET) for _ in range(draw.randrange(1, 14)))
    if draw.random() < 0.5:
        text = _mutated("c8nb bn r m2 [c16nb bn r]x2 do.1 gap flat fc10", draw)
    return _counted(lambda: count(text), text)


def _recipe(draw: Random) -> tuple[str, str]:
    lines = [f"{draw.choice(KEYS)} = {draw.choice(VALUES)}" for _ in range(draw.randrange(5))]
    text = "\n".join(lines)
    if draw.random() < 0.5:
        text = _mutated('name = "a"\n[model]\nnet = "c8 r gap flat fc10"\n[train]\nlr = 0.1\nepochs = 3\n', draw)
    return _counted(lambda: loads(text), text)


def _mutated(text: str, draw: Random) -> str:
    characters = list(text)
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(characters))
        match draw.randrange(4):
            case 0:
                characters[place] = chr(draw.choice((draw.randrange(128), draw.randrange(0xD800))))
            case 1:
                del characters[place]
            case 2:
                characters.insert(place, draw.choice("0123456789[](). x"))
            case _:
                characters[place:place] = characters[: draw.randrange(len(characters))]
        characters = characters or ["c"]
    return "".join(characters)


def _counted(read: Callable[[], object], text: str) -> tuple[str, str]:
    outcome, miss = _refused(repr(text[:100]), read)
    return ("read", "") if outcome == "read" else (outcome, miss)
