"""Downloads against a real server on this machine: a good file or one clear line, never half a file in the cache."""

import gzip
import hashlib
import http.server
import io
import multiprocessing
import os
import socket
import sys
import threading
import zipfile
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from image_files import idx_bytes, idx_files, labels, npz_arrays, pictures

from flyweight.data.catalogue import NamedSet, Place, RemoteFile
from flyweight.data.downloads import fetch
from flyweight.data.sources import load_named
from flyweight.errors import DataError, MissingError

CONTENT = bytes(range(256)) * 1000
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class Site:
    """What the server has, how often it cuts a path off before it sends it whole, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)

    def place(self, path: str, checksum: str = CHECKSUM) -> Place:
        return Place(url=self.url + path, checksum=checksum)


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        content = self.site.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.site.cuts[self.path] > 0:
            self.site.cuts[self.path] -= 1
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Quiet: stderr is what some of the tests look at."""


@pytest.fixture
def site(monkeypatch):
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    site = Site()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site)) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield site
        server.shutdown()


def a_file(*places: Place) -> RemoteFile:
    return RemoteFile(name="data.bin", places=places)


def kept(folder: Path) -> set[str]:
    """The names in the cache but for the lock."""
    return {path.name for path in folder.iterdir()} - {".lock"} if folder.exists() else set()


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_good_file_is_fetched_once(site, tmp_path):
    """The first call downloads, the second asks no one."""
    site.files["/a"] = CONTENT

    (first,) = fetch([a_file(site.place("/a"))], tmp_path)
    (second,) = fetch([a_file(site.place("/a"))], tmp_path)

    assert first == second == tmp_path / "data.bin"
    assert first.read_bytes() == CONTENT
    assert site.asked == ["/a"]
    assert kept(tmp_path) == {"data.bin"}


def test_a_wrong_checksum_is_a_data_error_and_nothing_is_kept(site, tmp_path):
    """The error has the expected checksum and the place, exit code 6, and the cache stays empty."""
    site.files["/a"] = b"something else"

    with pytest.raises(DataError) as caught:
        fetch([a_file(site.place("/a"))], tmp_path)

    assert caught.value.exit_code == 6
    assert CHECKSUM in str(caught.value)
    assert f"{site.url}/a" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == set()


def test_a_wrong_checksum_at_one_mirror_sends_to_the_next(site, tmp_path):
    """A landing page with status 200 is no file."""
    site.files |= {"/a": b"<html>moved</html>", "/b": CONTENT}

    (path,) = fetch([a_file(site.place("/a"), site.place("/b"))], tmp_path)

    assert path.read_bytes() == CONTENT


def test_mirrors_may_have_files_of_different_checksums(site, tmp_path):
    """What came from the second place is whole by the second place's sum, and is not fetched again."""
    other = f"md5:{hashlib.md5(b'repacked').hexdigest()}"
    site.files["/b"] = b"repacked"
    file = a_file(site.place("/a"), site.place("/b", other))

    fetch([file], tmp_path)
    (path,) = fetch([file], tmp_path)

    assert path.read_bytes() == b"repacked"
    assert site.asked == ["/a", "/b"]


def test_a_file_that_is_cut_off_half_way_is_fetched_again(site, tmp_path):
    """The same place is asked a second time, from the start."""
    site.files["/a"] = CONTENT
    site.cuts["/a"] = 1

    (path,) = fetch([a_file(site.place("/a"))], tmp_path)

    assert path.read_bytes() == CONTENT
    assert site.asked == ["/a", "/a"]
    assert kept(tmp_path) == {"data.bin"}


def test_a_file_that_is_always_cut_off_leaves_nothing(site, tmp_path):
    """After all attempts: one line, exit code 7, an empty cache."""
    site.files["/a"] = CONTENT
    site.cuts["/a"] = 100

    with pytest.raises(MissingError, match="before the file was complete") as caught:
        fetch([a_file(site.place("/a"))], tmp_path)

    assert caught.value.exit_code == 7
    assert str(caught.value).count("before the file was complete") == 1
    assert kept(tmp_path) == set()


def test_after_a_404_the_mirror_is_used(site, tmp_path):
    """A refusal is not asked for twice."""
    site.files["/b"] = CONTENT

    (path,) = fetch([a_file(site.place("/a"), site.place("/b"))], tmp_path)

    assert path.read_bytes() == CONTENT
    assert site.asked == ["/a", "/b"]


def test_where_no_mirror_has_it_all_are_named(site, tmp_path):
    """One line with every place and its answer."""
    with pytest.raises(MissingError) as caught:
        fetch([a_file(site.place("/a"), site.place("/b"))], tmp_path)

    assert str(caught.value).count("answered 404 Not Found") == 2
    assert f"put the file into {tmp_path} yourself" in str(caught.value)
    assert kept(tmp_path) == set()


def test_without_a_network_there_is_one_clear_line(tmp_path):
    """A refused connection: exit code 7, what to do next, nothing in the cache."""
    place = Place(url=f"http://127.0.0.1:{closed_port()}/a", checksum=CHECKSUM)

    with pytest.raises(MissingError, match=r"not reachable\. Check the network") as caught:
        fetch([a_file(place)], tmp_path)

    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == set()


def test_a_file_put_into_the_cache_by_hand_needs_no_network(tmp_path):
    """As the message promises."""
    place = Place(url=f"http://127.0.0.1:{closed_port()}/a", checksum=CHECKSUM)
    (tmp_path / "data.bin").write_bytes(CONTENT)

    assert fetch([a_file(place)], tmp_path) == (tmp_path / "data.bin",)


def test_a_damaged_file_in_the_cache_is_replaced(site, tmp_path):
    """What does not have its checksum any more is fetched again."""
    site.files["/a"] = CONTENT
    (tmp_path / "data.bin").write_bytes(CONTENT[:-1])

    (path,) = fetch([a_file(site.place("/a"))], tmp_path)

    assert path.read_bytes() == CONTENT


def test_what_a_killed_download_has_left_is_swept_away(site, tmp_path):
    """Temporary files of a process that is gone do not pile up."""
    site.files["/a"] = CONTENT
    (tmp_path / "tmp1234abcd").write_bytes(CONTENT[:100])

    fetch([a_file(site.place("/a"))], tmp_path)

    assert kept(tmp_path) == {"data.bin"}


def test_four_processes_fetch_a_file_once(site, tmp_path):
    """The lock makes three of them wait and find it there."""
    site.files["/a"] = CONTENT

    with multiprocessing.get_context("spawn").Pool(4) as pool:
        paths = pool.starmap(fetch, [([a_file(site.place("/a"))], tmp_path)] * 4)

    assert {path.read_bytes() for (path,) in paths} == {CONTENT}
    assert site.asked == ["/a"]


def test_a_cache_that_cannot_be_made_is_refused_with_the_variable_that_moves_it(site, tmp_path):
    """Here a file stands where the folder should be."""
    (tmp_path / "taken").write_bytes(b"")

    with pytest.raises(MissingError, match="Set FLYWEIGHT_CACHE") as caught:
        fetch([a_file(site.place("/a"))], tmp_path / "taken" / "cache")

    assert caught.value.exit_code == 7


def test_off_a_terminal_a_download_says_one_line_on_stderr(site, tmp_path, capsys):
    """stdout stays free for results."""
    site.files["/a"] = CONTENT

    fetch([a_file(site.place("/a"))], tmp_path)

    assert capsys.readouterr() == ("", "Downloading data.bin\n")


def test_on_a_terminal_a_download_has_a_bar_on_stderr(site, tmp_path, monkeypatch, capsys):
    """The bar ends at the size of the file."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    site.files["/a"] = CONTENT

    fetch([a_file(site.place("/a"))], tmp_path)

    assert "Downloading data.bin" in terminal.getvalue()
    assert "256.0/256.0 kB" in terminal.getvalue()
    assert capsys.readouterr().out == ""


MEMBERS = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), idx_files(), strict=True))


def served(site: Site, name: str, content: bytes) -> RemoteFile:
    site.files[f"/{name}"] = content
    return RemoteFile(name=name, places=(site.place(f"/{name}", f"md5:{hashlib.md5(content).hexdigest()}"),))


def a_set(**changes: object) -> NamedSet:
    plain = NamedSet(
        name="small",
        description="",
        homepage="",
        licence="",
        class_names=("a", "b", "c"),
        folder="small",
        members=MEMBERS,
    )
    return replace(plain, **changes)


def test_a_named_set_of_four_files_is_downloaded_and_read(site, tmp_path):
    """Images and labels are those that were served, with the catalogue's class names."""
    gz = {f"{name}.gz": gzip.compress(content) for name, content in idx_files().items()}
    named = a_set(
        files=tuple(served(site, name, content) for name, content in gz.items()),
        members={key: f"{name}.gz" for key, name in MEMBERS.items()},
    )

    found = load_named(named, cache=tmp_path)

    assert found.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(found.train_images[:, 0], npz_arrays()["x_train"])
    assert kept(tmp_path / "small") == set(gz)


def test_labels_of_several_columns_count_by_their_first(site, tmp_path):
    """QMNIST's labels are 8 integers each; the first is the digit."""
    columns = np.zeros((12, 8), np.int32)
    columns[:, 0], columns[:, 2] = labels(12), 2599
    content = idx_files() | {"train-labels-idx1-ubyte": idx_bytes(columns)}

    found = load_named(a_set(files=tuple(served(site, *item) for item in content.items())), cache=tmp_path)

    assert found.train_labels.tolist() == labels(12).tolist()


@pytest.mark.parametrize("folder", ["gzip/", ""])
def test_transposed_images_and_labels_from_one_are_put_right(site, tmp_path, folder):
    """As in EMNIST's zip of gzipped IDX files: images come out upright and the first letter is class 0."""
    arrays = npz_arrays(y_train=labels(12) + 1, y_test=labels(6) + 1)
    stored = arrays | {key: arrays[key].transpose(0, 2, 1) for key in ("x_train", "x_test")}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in idx_files(**stored).items():
            archive.writestr(f"{folder}{name}", gzip.compress(content))
    file = served(site, "all.zip", stream.getvalue())

    found = load_named(a_set(files=(file,), archive="all.zip", first_label=1, is_transposed=True), cache=tmp_path)

    np.testing.assert_array_equal(found.train_images[:, 0], pictures(12))
    assert found.train_labels.tolist() == labels(12).tolist()
    assert kept(tmp_path / "small") == {"all.zip"}


def test_an_archive_without_the_member_is_a_data_error(site, tmp_path):
    """The member that is missing is named."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    file = served(site, "all.zip", stream.getvalue())

    with pytest.raises(DataError, match="must hold train-images-idx3-ubyte, found 1 other"):
        load_named(a_set(files=(file,), archive="all.zip"), cache=tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_cache_serves_what_it_has(site, tmp_path):
    """Nothing is written, not even a lock, while all is there."""
    (tmp_path / "data.bin").write_bytes(CONTENT)
    tmp_path.chmod(0o500)

    assert fetch([a_file(site.place("/a"))], tmp_path) == (tmp_path / "data.bin",)
