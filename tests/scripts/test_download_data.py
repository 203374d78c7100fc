"""Fetching archives from a server on this machine that behaves badly in every way."""

import hashlib
import importlib.util
import io
import itertools
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.fetching import downloads, paced, transfer
from capsynth.fetching.downloads import DOWNLOADS, RECORDED, Download
from capsynth.fetching.lockfile import lock_all
from capsynth.fetching.locks import write_lock
from capsynth.files import dump_json, read_json, write_json
from download_data import main as download_data

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    """What a loopback server serves, and what it was asked.

    Attributes:
        url: Its address.
        body: The file.
        etag: The file's ETag, None for a server without one.
        drops: Bytes of an answer after which the connection breaks, one an answer.
        statuses: Codes that the next answers have instead.
        ranges: Whether it can go on in the middle.
        requests: The ``Range`` of every request so far.
        length: What is said to be the length of the file; None for what it is, "" for nothing.
        preface: What comes before the answer.
    """

    url: str = ""
    body: bytes = b""
    etag: str | None = '"1"'
    drops: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    requests: list[str | None] = field(default_factory=list)
    length: str | None = None
    preface: Iterable[bytes] = ()


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.requests.append(wanted)
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            fresh = self.headers.get("If-Range") in (None, server.etag)
            partial = bool(wanted) and server.ranges and fresh
            if partial and start >= len(server.body):
                self.send_error(416)
                return
            body = server.body[start:] if partial else server.body
            for part in server.preface:
                self.wfile.write(part)
            self.send_response(206 if partial else 200)
            if partial:
                size = len(server.body)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if server.length != "":
                self.send_header("Content-Length", server.length or str(len(body)))
            if server.etag is not None:
                self.send_header("ETag", server.etag)
            self.end_headers()
            self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that serves an archive of two classes."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.0)
    state = Server(body=archive("one", "two"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/set.tar"
        yield state
        http.shutdown()


def archive(*images: str, extra: tarfile.TarInfo | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for image in images:
            info = tarfile.TarInfo(f"set/train/{image}/{image}.jpg")
            info.size = len(image)
            tar.addfile(info, io.BytesIO(image.encode()))
        if extra is not None:
            tar.addfile(extra)
    return file.getvalue()


Register = Callable[..., Path]


@pytest.fixture
def register(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Callable[[], Path]]:
    """``register(name="set", ...)()`` fetches a download of the server: its stamp."""

    def make(name: str = "set", **changes: object) -> Callable[[], Path]:
        values = {"folder": "set/train", "checksum": None, "source": "a test", "size": None}
        values |= {"homepage": "", "terms": "", **changes}
        entry = Download(url=server.url, **values)  # type: ignore[arg-type]  # of any field
        registry = {**downloads.DOWNLOADS, name: entry}
        monkeypatch.setattr(downloads, "DOWNLOADS", registry)
        stamp = tmp_path / "data" / f"{name}.json"

        def run() -> Path:
            lock = str(tmp_path / "lock.json")
            download_data(["--name", name, "--lock", lock, "--output", str(stamp)])
            return stamp

        return run

    return make


def images(stamp: Path) -> list[str]:
    folder = stamp.with_suffix("")
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))


def leftovers(stamp: Path) -> list[str]:
    names = [path.name for path in stamp.parent.iterdir() if path.name.startswith(".")]
    return sorted(name for name in names if not name.endswith(".lock"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_archive_becomes_class_folders_and_a_stamp(server: Server, register: Register) -> None:
    stamp = register(checksum=f"sha256:{sha256(server.body)}")()
    assert images(stamp) == ["one/one.jpg", "two/two.jpg"]
    values = read_json(stamp)
    assert values["sha256"] == sha256(server.body)
    assert values["bytes"] == len(server.body)
    assert values["checksum_source"] == "a test"
    assert leftovers(stamp) == []


def test_a_checksum_that_nobody_publishes_is_recorded_and_said_to_be_so(
    server: Server, register: Register
) -> None:
    stamp = register()()
    assert read_json(stamp)["checksum_source"] == RECORDED
    assert read_json(stamp)["sha256"] == sha256(server.body)


def test_the_same_content_is_the_same_stamp(register: Register) -> None:
    fetch = register()
    first = fetch().read_bytes()
    assert fetch().read_bytes() == first


def test_a_broken_connection_is_gone_on_from(server: Server, register: Register) -> None:
    server.drops = [4000, 3000]
    stamp = register(checksum=f"sha256:{sha256(server.body)}")()
    assert server.requests == [None, "bytes=4000-", "bytes=7000-"]
    assert images(stamp) == ["one/one.jpg", "two/two.jpg"]


def test_a_later_start_goes_on_from_the_part_of_an_earlier_one(
    server: Server, register: Register
) -> None:
    fetch = register(checksum=f"md5:{hashlib.md5(server.body).hexdigest()}")
    server.drops = [4000] + [0] * transfer.IDLE_ATTEMPTS
    with pytest.raises(CapsynthError, match="4000 bytes are kept, and another start goes on"):
        fetch()
    server.requests.clear()
    fetch()
    assert server.requests == ["bytes=4000-"]


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(
    server: Server, register: Register
) -> None:
    fetch = register()
    server.drops = [4000] + [0] * transfer.IDLE_ATTEMPTS
    with pytest.raises(CapsynthError):
        fetch()
    server.body, server.etag = archive("three"), '"2"'
    assert images(fetch()) == ["three/three.jpg"]


@pytest.mark.parametrize("size", ["shorter", "longer"])
def test_a_change_is_noticed_by_the_size_alone(
    size: str, server: Server, register: Register
) -> None:
    server.etag = None
    fetch = register()
    if size == "shorter":
        server.body = archive("one", "two") + bytes(50_000)
    server.drops = [20_000 if size == "shorter" else 4000] + [0] * transfer.IDLE_ATTEMPTS
    with pytest.raises(CapsynthError):
        fetch()
    server.body = archive("three") if size == "shorter" else archive("three") + bytes(50_000)
    assert images(fetch()) == ["three/three.jpg"]


def test_a_server_that_cannot_go_on_in_the_middle_begins_anew(
    server: Server, register: Register
) -> None:
    server.ranges, server.drops = False, [4000]
    stamp = register(checksum=f"sha256:{sha256(server.body)}")()
    assert images(stamp) == ["one/one.jpg", "two/two.jpg"]


def test_a_wrong_checksum_deletes_the_part_and_says_what_was_expected(
    server: Server, register: Register, tmp_path: Path
) -> None:
    with pytest.raises(CapsynthError, match=r"has the md5 \w{32}, but a test says 0{32}"):
        register(checksum=f"md5:{'0' * 32}")()
    assert leftovers(tmp_path / "data" / "set.json") == []
    assert not (tmp_path / "data" / "set").exists()


def test_a_missing_file_is_told_at_once(server: Server, register: Register) -> None:
    server.statuses = [404] * 9
    with pytest.raises(CapsynthError, match=r"the server answers 404 .*docs/prefetch\.md"):
        register()()
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again_a_bounded_number_of_times(
    server: Server, register: Register
) -> None:
    server.statuses = [503, 429]
    register()()
    assert len(server.requests) == 3
    server.requests.clear()
    server.statuses = [503] * 99
    with pytest.raises(CapsynthError, match="the server answers 503"):
        register("other")()
    assert len(server.requests) == transfer.IDLE_ATTEMPTS


def test_a_server_that_is_not_there_is_told(register: Register, server: Server) -> None:
    server.url = "http://127.0.0.1:9/set.tar"
    with pytest.raises(CapsynthError, match=r"could not be fetched: .*refused"):
        register()()


def test_a_hostile_archive_leaves_nothing(
    server: Server, register: Register, tmp_path: Path
) -> None:
    link = tarfile.TarInfo("set/train/one/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    server.body = archive("one", extra=link)
    with pytest.raises(CapsynthError, match="is neither a file nor a folder"):
        register()()
    assert not (tmp_path / "data" / "set").exists()
    assert not (tmp_path / "data" / "set.json").exists()


def test_what_the_lock_file_recorded_is_what_is_accepted(
    server: Server, register: Register, tmp_path: Path
) -> None:
    fetch, lock = register(), tmp_path / "lock.json"
    write_lock(lock, [fetch()])
    server.requests.clear()
    fetch()
    assert server.requests == []  # all of it is there
    (tmp_path / "data/set/one/one.jpg").unlink()
    fetch()
    assert server.requests == [None]
    server.body, server.etag = archive("three"), '"2"'
    (tmp_path / "data/set/one/one.jpg").unlink()
    with pytest.raises(CapsynthError, match=r"but .*lock\.json says"):
        fetch()
    write_json(lock, {})
    assert images(fetch()) == ["three/three.jpg"]


def test_two_names_of_one_archive_fetch_it_once(server: Server, register: Register) -> None:
    first, second = register("set"), register("set-val", folder="set/train/two")
    stamp = first()
    assert leftovers(stamp) == [".set.tar"]  # kept for the other name
    assert images(second()) == ["two.jpg"]
    assert len(server.requests) == 1
    assert leftovers(stamp) == []


def test_an_archive_that_lies_there_is_taken_only_if_it_is_the_right_one(
    server: Server, register: Register, tmp_path: Path
) -> None:
    fetch = register(checksum=f"md5:{hashlib.md5(server.body).hexdigest()}")
    lying = tmp_path / "data" / ".set.tar"
    lying.parent.mkdir()
    lying.write_bytes(archive("other"))
    stamp = fetch()
    assert images(stamp) == ["one/one.jpg", "two/two.jpg"]
    assert len(server.requests) == 1
    lying.write_bytes(server.body)
    fetch()
    assert len(server.requests) == 1
    # Without a published checksum there is that of the lock file, or none.
    fetch = register()
    write_lock(tmp_path / "lock.json", [stamp])
    for right, requests in ((server.body, 1), (archive("other"), 2)):
        lying.write_bytes(right)
        (stamp.with_suffix("") / "one/one.jpg").write_text("eno")
        assert images(fetch()) == ["one/one.jpg", "two/two.jpg"]
        assert len(server.requests) == requests
    (tmp_path / "lock.json").unlink()
    lying.write_bytes(server.body)
    fetch()
    assert len(server.requests) == 3


def test_the_lock_file_holds_for_every_name_of_an_archive(
    server: Server, register: Register, tmp_path: Path
) -> None:
    write_lock(tmp_path / "lock.json", [register("set")()])
    server.body, server.etag = archive("two"), '"2"'
    with pytest.raises(CapsynthError, match=r"has the sha256 .* but .*lock\.json says"):
        register("set-val", folder="set/train/two")()


def test_a_folder_that_lies_there_is_taken_only_if_it_holds_the_same_bytes(
    server: Server, register: Register, tmp_path: Path
) -> None:
    fetch, lock = register(), tmp_path / "lock.json"
    stamp = fetch()
    write_lock(lock, [stamp])
    image = stamp.with_suffix("") / "one/one.jpg"
    stamp.unlink()
    image.write_text("eno")  # as many files, as many bytes
    fetch()
    assert image.read_text() == "one"
    assert lock_all([stamp], lock)[0].startswith("data/set: 2 files")
    image.write_text("longer")
    assert "fetched again as it was" in lock_all([stamp], lock)[0]
    image.rename(image.with_name("other.jpg"))
    assert "fetched again as it was" in lock_all([stamp], lock)[0]
    assert images(stamp) == ["one/one.jpg", "two/two.jpg"]


def test_a_folder_of_an_earlier_release_is_counted_until_it_is_fetched_again(
    server: Server, register: Register, tmp_path: Path
) -> None:
    fetch, lock = register(), tmp_path / "lock.json"
    stamp = fetch()
    new = ("listing", "content")
    write_json(stamp, {k: v for k, v in read_json(stamp).items() if k not in new})
    assert "fetched again" not in lock_all([stamp], lock)[0]
    (stamp.with_suffix("") / "one/one.jpg").unlink()
    assert "fetched again" in lock_all([stamp], lock)[0]
    assert read_json(stamp).keys() >= {*new}


@pytest.mark.parametrize("length", ["9" * 5000, "1²", "-1", "1e3", "", "9" * 16])
def test_a_length_that_is_none_is_passed_over(
    length: str, server: Server, register: Register
) -> None:
    server.length = length
    assert images(register()()) == ["one/one.jpg", "two/two.jpg"]


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    server: Server, register: Register, tmp_path: Path
) -> None:
    fetch = register(size=len(server.body) + 1)
    with pytest.raises(CapsynthError, match=f"has {len(server.body)} bytes and should have"):
        fetch()
    assert len(server.requests) == 1
    assert leftovers(tmp_path / "data" / "set.json") == []


def test_what_goes_on_behind_its_size_is_cut_off(
    server: Server, register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.length = ""
    with pytest.raises(CapsynthError, match="goes on behind the 5000 bytes"):
        register(size=5000)()
    monkeypatch.setattr(transfer, "MAX_BYTES", 6000)
    with pytest.raises(CapsynthError, match="goes on behind the 6000 bytes"):
        register("other")()
    assert leftovers(tmp_path / "data" / "set.json") == []


def test_headers_without_end_are_refused(
    server: Server, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "HEADER_BYTES", 10_000)
    server.preface = itertools.repeat(b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n")
    with pytest.raises(CapsynthError, match=r"could not be fetched: .*headers without end"):
        register()()
    assert len(server.requests) == transfer.IDLE_ATTEMPTS


def test_a_server_that_sends_a_byte_a_second_is_given_up_on() -> None:
    clock = itertools.count().__next__
    raw = io.BytesIO(bytes(10_000))
    slow = io.RawIOBase()
    slow.readinto = lambda buffer: raw.readinto(buffer[:1])  # type: ignore[method-assign]  # slow
    stream = paced.Paced(slow, clock)
    stream.headers_left = None
    with pytest.raises(TimeoutError, match=r"\d+ bytes in 60 s"):
        stream.readall()
    assert raw.tell() <= 61
    fast = paced.Paced(io.BytesIO(bytes(10_000_000)), clock)  # type: ignore[arg-type]  # raw enough
    fast.headers_left = None
    assert len(fast.readall()) == 10_000_000


@pytest.mark.parametrize("text", ["{}", "[]", '{"url": 5}', "{", "deep", "size"])
def test_a_part_of_which_nothing_is_known_is_thrown_away(
    text: str, server: Server, register: Register, tmp_path: Path
) -> None:
    part = tmp_path / "data" / ".set.tar.part"
    part.parent.mkdir()
    part.write_bytes(b"of another")
    if text == "deep":
        text = "[" * 100_000
    elif text == "size":
        text = dump_json({"url": server.url, "etag": '"1"', "modified": None, "size": "many"})
    Path(f"{part}.json").write_text(text)
    assert images(register()()) == ["one/one.jpg", "two/two.jpg"]


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    line = ["--name", "imagenet-b", "--lock", "l", "--output", str(tmp_path / "x.json")]
    with pytest.raises(CapsynthError, match=r"'imagenet-b' is not known; known: imagenette2, "):
        download_data(line)


def test_the_checksum_of_imagenette_is_that_of_torchvision() -> None:
    # Its text, for importing it takes seconds.
    package = importlib.util.find_spec("torchvision")
    assert package is not None
    assert package.origin is not None
    text = (Path(package.origin).parent / "datasets" / "imagenette.py").read_text()
    for name in ("imagenette2", "imagenette2-val"):
        md5 = str(DOWNLOADS[name].checksum).removeprefix("md5:")
        assert f'("{DOWNLOADS[name].url}", "{md5}")' in text


def test_every_download_has_a_checksum_with_its_source_or_says_that_it_has_none() -> None:
    length = {"md5": 32, "sha256": 64}
    for name, download in DOWNLOADS.items():
        assert download.url.startswith("https://"), name
        if download.checksum is not None:
            kind, digest = download.checksum.split(":")
            assert len(digest) == length[kind], name
            assert int(digest, 16) >= 0
            assert ":" in download.source, name


def test_the_documentation_lists_every_download() -> None:
    text = (ROOT / "docs" / "prefetch.md").read_text(encoding="utf-8")
    assert [name for name in DOWNLOADS if f"`{name}`" not in text] == []
