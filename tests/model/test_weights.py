"""Weights: the list, checksums, downloads from a real local server, and what a user may say."""

import fcntl
import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.model import weights
from espnet_edge.model.weights import (
    RANDOM_SOURCE,
    PublishedWeights,
    WeightsChoice,
    cache_dir,
    fetch,
    find_published,
    identify,
    published_weights,
    reopen,
    resolve,
    verify,
)

CONTENT = hashlib.shake_128(b"weights").digest(300_000)


def git_blob_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's own name


PUBLISHED = PublishedWeights(
    repo="someone/zoo",
    commit="c0ffee",
    path="model/net_384.pth",
    git_blob_sha1=git_blob_sha1(CONTENT),
    task="segmentation",
    network="espnetv2_seg",
    width_mult=1.0,
    dataset="voc",
    trained_size=(384, 384),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    licence="MIT",
    miou=60.0,
)
# As for most of the list, only git's name of the bytes is known.
UNHASHED = replace(PUBLISHED, sha256=None, size_bytes=None)


class Server(ThreadingHTTPServer):
    """Serves `content`. `behaviour` may change during a test; `ranges` has the Range header of each request."""

    daemon_threads = False  # so that closing the server waits for its answers

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.behaviour = "range"
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        self.stop_waiting = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.paths.append(self.path)
        server.ranges.append(self.headers.get("Range"))
        getattr(self, f"answer_{server.behaviour}")()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Keep the test output quiet."""

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def start(self) -> int:
        return int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def answer_range(self, last: int | None = None) -> None:
        start, content = self.start(), self.server.content
        if start >= len(content):
            self.send(416, b"", {"Content-Length": "0"})
            return
        headers = {"Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send(206 if start else 200, content[start:last], headers)

    def answer_no_range(self) -> None:
        self.send(200, self.server.content, {"Content-Length": str(len(self.server.content))})

    def answer_no_length(self) -> None:
        self.send(200, self.server.content, {})

    def answer_truncated(self) -> None:
        self.answer_range(last=self.start() + 1000)

    def answer_truncated_once(self) -> None:
        self.server.behaviour = "range"
        self.answer_truncated()

    def answer_missing(self) -> None:
        self.send(404, b"not here", {"Content-Length": "8"})

    def answer_redirect(self) -> None:
        self.send(302, b"", {"Location": "http://example.invalid/net.pth", "Content-Length": "0"})

    def answer_never(self) -> None:
        self.server.stop_waiting.wait(30)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that does not exist yet, and no proxy between the tests and their server."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "cache" / "weights"
    monkeypatch.setenv("ESPNET_EDGE_CACHE", str(folder))
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as running:
        monkeypatch.setattr(weights, "_RAW_URL", f"http://127.0.0.1:{running.server_port}")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.stop_waiting.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(weights, "_RAW_URL", f"http://127.0.0.1:{port}")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "published_weights", lambda: (PUBLISHED,))


def resolve_seg(choice: str, warnings: list[str], **changes: Any) -> WeightsChoice:
    asked: dict[str, Any] = {"network": "espnetv2_seg", "width_mult": 1.0, "dataset": "voc", "size": (384, 384)}
    return resolve(choice, **(asked | changes), warn=warnings.append)


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


# The list.


def test_the_list_is_complete_and_unambiguous() -> None:
    files = published_weights()
    assert len(files) == 31
    assert len({file.file_name for file in files}) == len(files)
    assert len({file.git_blob_sha1 for file in files}) == len(files)
    for file in files:
        assert file.network in {"espnetv2_cls", "espnetv2_seg", "espnetv2_det", "edgenets_shufflenetv2"}
        assert file.dataset in {"imagenet", "cityscapes", "voc", "coco"}
        assert (file.sha256 is None) == (file.size_bytes is None)
        assert any(figure is not None for figure in (file.top1, file.miou, file.map))


def test_url_and_file_name_come_from_the_path() -> None:
    assert PUBLISHED.file_name == "net_384.pth"
    assert PUBLISHED.url == "https://raw.githubusercontent.com/someone/zoo/c0ffee/model/net_384.pth"


@pytest.mark.shared
def test_the_list_agrees_with_its_source(shared: Path) -> None:
    source = {file["url"]: file for file in json.loads((shared / "reference/weights.json").read_text())["files"]}
    assert {file.url for file in published_weights()} == set(source)
    for file in published_weights():
        entry = source[file.url]
        assert (file.git_blob_sha1, file.sha256) == (entry["git_blob_sha1"], entry.get("sha256"))
        figures = tuple(entry.get(name) for name in ("top1", "top5", "miou", "map"))
        assert (file.top1, file.top5, file.miou, file.map) == figures
        if "trained_size_wxh" in entry:
            assert "{1}x{0}".format(*file.trained_size) == entry["trained_size_wxh"]


@pytest.mark.shared
def test_official_checkpoints_are_identified(shared: Path) -> None:
    paths = sorted((shared / "weights").glob("*.pth"))
    assert len(paths) == 12
    for path in paths:
        found = identify(path)
        assert found is not None
        assert found.file_name == path.name
        assert found.size_bytes == path.stat().st_size
        verify(path, found)
        # The digest that the files nobody has hashed yet rely on.
        verify(path, replace(found, sha256=None))


@pytest.mark.parametrize(
    ("size", "file_name"),
    [
        ((512, 1024), "espnetv2_s_2.0_city_1024x512.pth"),
        ((256, 512), "espnetv2_s_2.0_city_512x256.pth"),
        ((128, 256), "espnetv2_s_2.0_city_512x256.pth"),
        ((2048, 1024), "espnetv2_s_2.0_city_1024x512.pth"),
        ((1, (512 * 1024 + 256 * 512) // 2), "espnetv2_s_2.0_city_1024x512.pth"),
    ],
    ids=["equal", "equal-small", "smaller", "larger", "tie"],
)
def test_trained_size_nearest_to_the_asked_one(size: tuple[int, int], file_name: str) -> None:
    found = find_published("espnetv2_seg", width_mult=2.0, dataset="cityscapes", size=size)
    assert found is not None
    assert found.file_name == file_name


def test_classification_prefers_the_collection_with_a_licence() -> None:
    found = find_published("espnetv2_cls", width_mult=1.25, dataset="imagenet", size=(224, 224))
    assert found is not None
    assert (found.repo, found.licence, found.top1) == ("sacmehta/EdgeNets", "MIT", 67.95)


def test_nothing_is_published_for_some() -> None:
    assert find_published("espnetv2_seg", width_mult=1.25, dataset="voc", size=(384, 384)) is None
    assert find_published("mobilenetv1", width_mult=1.0, dataset="imagenet", size=(224, 224)) is None


# Checksums.


@pytest.mark.parametrize("published", [PUBLISHED, UNHASHED], ids=["sha256", "git"])
def test_verify_names_both_digests(tmp_path: Path, published: PublishedWeights) -> None:
    path = tmp_path / "any.pth"
    path.write_bytes(CONTENT)
    verify(path, published)
    changed = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    path.write_bytes(changed)
    with pytest.raises(CheckError) as caught:
        verify(path, published)
    sha256 = published.sha256 is not None
    actual = hashlib.sha256(changed).hexdigest() if sha256 else git_blob_sha1(changed)
    for part in (str(path), actual, published.sha256 or published.git_blob_sha1, "--weights FILE"):
        assert part in str(caught.value)


def test_identify_goes_by_the_bytes(tmp_path: Path, listed: None) -> None:
    path = tmp_path / "renamed"
    path.write_bytes(CONTENT)
    assert identify(path) == PUBLISHED
    path.write_bytes(CONTENT + b"more")
    assert identify(path) is None


def test_identify_does_not_read_a_huge_file(tmp_path: Path, listed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(weights, "_MAX_BYTES", len(CONTENT) - 1)
    assert identify(path) is None


# The cache and downloads.


def test_cache_dir_without_the_variable_is_the_users(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert cache_dir() == cache
    monkeypatch.delenv("ESPNET_EDGE_CACHE")
    assert "espnet-edge" in str(cache_dir())


@pytest.mark.parametrize("published", [PUBLISHED, UNHASHED], ids=["sha256", "git"])
@pytest.mark.parametrize("behaviour", ["range", "no_range", "no_length"])
def test_download_once_then_from_the_cache(
    server: Server, cache: Path, capsys: pytest.CaptureFixture[str], published: PublishedWeights, behaviour: str
) -> None:
    server.behaviour = behaviour
    path = fetch(published)
    assert path == cache / "net_384.pth"
    assert path.read_bytes() == CONTENT
    assert names_in(cache) == ["net_384.pth"]
    assert fetch(published) == path
    assert server.paths == ["/someone/zoo/c0ffee/model/net_384.pth"]
    assert capsys.readouterr() == ("", "")


def test_cached_file_needs_no_network(offline: None, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net_384.pth").write_bytes(CONTENT)
    assert fetch(PUBLISHED) == cache / "net_384.pth"


@pytest.mark.parametrize("behaviour", ["range", "no_range"])
def test_partial_file_is_continued(server: Server, cache: Path, behaviour: str) -> None:
    server.behaviour = behaviour
    cache.mkdir(parents=True)
    (cache / "net_384.pth.part").write_bytes(CONTENT[:1234])
    assert fetch(PUBLISHED).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"]
    assert names_in(cache) == ["net_384.pth"]


def test_partial_file_that_is_whole_is_not_downloaded(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net_384.pth.part").write_bytes(CONTENT)
    assert fetch(PUBLISHED).read_bytes() == CONTENT
    assert server.ranges == []


@pytest.mark.parametrize(
    ("published", "ranges"),
    [(PUBLISHED, [None]), (UNHASHED, [f"bytes={len(CONTENT) + 5}-", None])],
    ids=["size-known", "answer-416"],
)
def test_partial_file_that_is_too_long_starts_anew(
    server: Server, cache: Path, published: PublishedWeights, ranges: list[str | None]
) -> None:
    cache.mkdir(parents=True)
    (cache / "net_384.pth.part").write_bytes(CONTENT + b"extra")
    assert fetch(published).read_bytes() == CONTENT
    assert server.ranges == ranges


def test_a_dropped_connection_is_continued_once(server: Server) -> None:
    server.behaviour = "truncated_once"
    assert fetch(PUBLISHED).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_truncated_body_leaves_only_the_partial_file(server: Server, cache: Path) -> None:
    server.behaviour = "truncated"
    with pytest.raises(UnavailableError, match="ended after 2000 of 300000 bytes") as caught:
        fetch(PUBLISHED)
    assert_one_line_with_way_out(caught.value, cache)
    assert server.ranges == [None, "bytes=1000-"]
    assert names_in(cache) == ["net_384.pth.part"]
    server.behaviour = "range"
    assert fetch(PUBLISHED).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=2000-"


def test_missing_on_the_server(server: Server, cache: Path) -> None:
    server.behaviour = "missing"
    with pytest.raises(UnavailableError, match="HTTP 404 Not Found") as caught:
        fetch(PUBLISHED)
    assert_one_line_with_way_out(caught.value, cache)
    assert len(server.paths) == 1
    assert names_in(cache) == []


def test_no_answer_in_time(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.behaviour = "never"
    monkeypatch.setattr(weights, "_TIMEOUT_S", 0.1)
    with pytest.raises(UnavailableError, match=r"no answer within 0\.1 s"):
        fetch(PUBLISHED)
    assert len(server.paths) == 1
    assert names_in(cache) == []


def test_no_network(offline: None, cache: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        fetch(PUBLISHED)
    assert_one_line_with_way_out(caught.value, cache)
    assert names_in(cache) == []


def assert_one_line_with_way_out(error: Exception, cache: Path) -> None:
    line = str(error)
    assert "\n" not in line
    for part in (PUBLISHED.url, f"put it in {cache / 'net_384.pth'}", "--weights FILE"):
        assert part in line


@pytest.mark.parametrize("published", [PUBLISHED, UNHASHED], ids=["sha256", "git"])
def test_wrong_content_is_deleted(server: Server, cache: Path, published: PublishedWeights) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(CheckError, match="not the published file"):
        fetch(published)
    assert names_in(cache) == []


@pytest.mark.parametrize("behaviour", ["no_range", "no_length"])
@pytest.mark.parametrize("published", [PUBLISHED, UNHASHED], ids=["size-known", "size-unknown"])
def test_too_large_a_body_is_refused(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, published: PublishedWeights, behaviour: str
) -> None:
    monkeypatch.setattr(weights, "_MAX_BYTES", len(CONTENT))
    server.behaviour, server.content = behaviour, CONTENT + b"extra"
    with pytest.raises(CheckError, match=f"{len(CONTENT) + 5} bytes or more came"):
        fetch(published)
    assert names_in(cache) == []


def test_redirect_to_plain_http_is_refused(server: Server, cache: Path) -> None:
    server.behaviour = "redirect"
    with pytest.raises(UnavailableError, match=r"redirects to http://example\.invalid/net\.pth, and only https"):
        fetch(PUBLISHED)
    assert names_in(cache) == []


@pytest.mark.parametrize("base", ["http://example.invalid", "ftp://example.invalid", "file:///etc"])
def test_other_than_https_is_refused(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setattr(weights, "_RAW_URL", base)
    with pytest.raises(UnavailableError, match="not an https address"):
        fetch(PUBLISHED)


def test_damaged_cached_file_is_replaced(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.mkdir(parents=True)
    (cache / "net_384.pth").write_bytes(CONTENT[:-1])
    assert fetch(PUBLISHED).read_bytes() == CONTENT
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {cache / 'net_384.pth'}: sha256 is ")
    assert warning.count("\n") == 1


def test_damaged_cached_file_is_never_used(offline: None, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net_384.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(CheckError, match=r"net_384\.pth: sha256 is .*downloading it again failed"):
        fetch(PUBLISHED)


def test_two_processes_do_not_share_a_partial_file(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net_384.pth.part").write_bytes(b"of the other process")
    other = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert fetch(PUBLISHED).read_bytes() == CONTENT
    finally:
        os.close(other)
    assert names_in(cache) == ["net_384.pth", "net_384.pth.part"]
    assert (cache / "net_384.pth.part").read_bytes() == b"of the other process"


def test_unusable_cache_folder(server: Server, cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(UnavailableError, match="set ESPNET_EDGE_CACHE to a folder"):
        fetch(PUBLISHED)


# What the user may say.


def test_auto_takes_the_published_file(server: Server, cache: Path, listed: None) -> None:
    warnings: list[str] = []
    choice = resolve_seg("auto", warnings)
    assert choice == WeightsChoice("net_384.pth", cache / "net_384.pth", PUBLISHED.sha256, False, PUBLISHED)
    assert warnings == []
    assert reopen(choice.source, choice.sha256) == choice.path


def test_auto_offline_is_random_and_says_so(offline: None, listed: None) -> None:
    warnings: list[str] = []
    assert resolve_seg("auto", warnings) == WeightsChoice(RANDOM_SOURCE, None, None, True, None)
    assert len(warnings) == 1
    assert warnings[0].startswith("RANDOM WEIGHTS")
    for part in (PUBLISHED.url, "refused", "--weights FILE"):
        assert part in warnings[0]


def test_auto_without_a_published_file_is_random_and_says_so(offline: None) -> None:
    warnings: list[str] = []
    assert resolve_seg("auto", warnings, width_mult=1.25).random
    assert len(warnings) == 1
    for part in ("RANDOM WEIGHTS", "width 1.25, voc", "voc 0.5, 1.0, 1.5, 2.0", "--weights FILE"):
        assert part in warnings[0]
    assert resolve_seg("auto", warnings, network="mobilenetv1", dataset="imagenet").random
    assert resolve_seg("auto", warnings, network="espnetv2_cls", width_mult=2.0, dataset="coco").random
    assert "no weights are published for espnetv2_cls, width 2.0, coco" in warnings[-1]
    assert "(imagenet 0.5, 1.0, 1.25, 1.5, 2.0), or pass --weights FILE" in warnings[-1]


def test_auto_never_hides_a_wrong_checksum(server: Server, listed: None) -> None:
    server.content = b"something else"
    warnings: list[str] = []
    with pytest.raises(CheckError):
        resolve_seg("auto", warnings)
    assert warnings == []


def test_random_touches_no_network(server: Server, cache: Path, listed: None) -> None:
    warnings: list[str] = []
    assert resolve_seg("random", warnings) == WeightsChoice("random (seed 0)", None, None, True, None)
    assert [warning.split(" (")[0] for warning in warnings] == ["RANDOM WEIGHTS"]
    assert server.paths == []
    assert not cache.exists()


@pytest.mark.parametrize(("choice", "problem"), [("nowhere.pth", "no such file"), (".", "is a folder")])
def test_a_path_that_is_no_file(tmp_path: Path, choice: str, problem: str) -> None:
    with pytest.raises(InputError, match=rf"{problem}; give auto, random or a file"):
        resolve_seg(str(tmp_path / choice), [])


def test_a_file_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(b"own")
    monkeypatch.chdir(tmp_path)
    warnings: list[str] = []
    choice = resolve_seg("own.pth", warnings)
    assert choice == WeightsChoice(str(path), Path("own.pth"), hashlib.sha256(b"own").hexdigest(), False, None)
    assert warnings == []
    assert reopen(choice.source, choice.sha256) == path


def test_a_file_with_published_bytes(tmp_path: Path, listed: None) -> None:
    path = tmp_path / "copy.pth"
    path.write_bytes(CONTENT)
    warnings: list[str] = []
    choice = resolve_seg(str(path), warnings)
    assert (choice.source, choice.path, choice.published) == ("net_384.pth", path, PUBLISHED)
    assert warnings == []


def test_a_file_for_another_size_is_taken_with_a_warning(tmp_path: Path, listed: None) -> None:
    path = tmp_path / "copy.pth"
    path.write_bytes(CONTENT)
    warnings: list[str] = []
    assert resolve_seg(str(path), warnings, size=(256, 320)).path == path
    assert len(warnings) == 1
    assert "384x384" in warnings[0]
    assert "256x320" in warnings[0]


@pytest.mark.parametrize(
    ("asked", "way_out"),
    [
        ({"width_mult": 2.0}, "pass --width 1.0, or"),
        ({"dataset": "cityscapes"}, "pass --dataset voc, or"),
        ({"width_mult": 2.0, "dataset": "cityscapes"}, "pass --width 1.0 --dataset voc, or"),
        ({"network": "espnetv2_cls"}, "pass the model seg with --width 1.0 --dataset voc, or"),
    ],
    ids=["width", "dataset", "both", "network"],
)
def test_a_file_for_another_network_names_both_sides(
    tmp_path: Path, listed: None, asked: dict[str, Any], way_out: str
) -> None:
    path = tmp_path / "copy.pth"
    path.write_bytes(CONTENT)
    with pytest.raises(InputError) as caught:
        resolve_seg(str(path), [], **asked)
    wanted = {"network": "espnetv2_seg", "width_mult": 1.0, "dataset": "voc"} | asked
    words = "{network}, width {width_mult}, {dataset}".format(**wanted)
    for part in ("net_384.pth", "espnetv2_seg, width 1.0, voc", words, way_out):
        assert part in str(caught.value)


def test_reopen_refuses_what_it_cannot_vouch_for(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(b"own")
    with pytest.raises(InputError, match="random"):
        reopen(RANDOM_SOURCE, None)
    with pytest.raises(InputError, match="no such file"):
        reopen(str(tmp_path / "gone.pth"), "00")
    with pytest.raises(CheckError, match="no sha256 was recorded"):
        reopen(str(path), None)
    with pytest.raises(CheckError, match=f"sha256 is {hashlib.sha256(b'own').hexdigest()}, recorded is 00"):
        reopen(str(path), "00")


def test_reopen_compares_a_published_file_too(server: Server, listed: None) -> None:
    assert reopen("net_384.pth", None).read_bytes() == CONTENT
    with pytest.raises(CheckError, match="recorded is 00"):
        reopen("net_384.pth", "00")
