"""Which weights a network gets: the published files, fetched and verified; a file of the user's; or none, said aloud.

The list `published_weights.json` says where each published file lives and which bytes it has, so a download, a cached
file and a file that somebody copied by hand are all held to the same checksum before anything in them is parsed.
"""

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..errors import CheckError, InputError, UnavailableError
from ..files import sha256_of, write_bytes

__all__ = [
    "RANDOM_SOURCE",
    "PublishedWeights",
    "WeightsChoice",
    "cache_dir",
    "fetch",
    "find_published",
    "identify",
    "published_weights",
    "reopen",
    "resolve",
    "verify",
]

RANDOM_SOURCE = "random (seed 0)"

_RAW_URL = "https://raw.githubusercontent.com"
# EdgeNets is the authors' later collection and the one with a licence; the older repository holds the same networks.
_PREFERRED_REPO = "sacmehta/EdgeNets"
_SHORT_NAMES = {"espnetv2_cls": "cls", "espnetv2_seg": "seg", "espnetv2_det": "det"}
_TIMEOUT_S = 20
_READ_BYTES = 64 << 10
# Several times what a network of a few million float32 parameters takes: more is not what was asked for.
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class PublishedWeights:
    """A checkpoint that the authors of the network published.

    `trained_size` is (height, width) in pixels. `top1`, `top5`, `miou` and `map` are the published figures in percent,
    None where there is none. `sha256` and `size_bytes` are None where nobody has hashed the file yet; its
    `git_blob_sha1` is always known. `licence` is None where the repository states none.
    """

    repo: str
    commit: str
    path: str
    git_blob_sha1: str
    task: str
    network: str
    width_mult: float
    dataset: str
    trained_size: tuple[int, int]
    sha256: str | None = None
    size_bytes: int | None = None
    licence: str | None = None
    top1: float | None = None
    top5: float | None = None
    miou: float | None = None
    map: float | None = None

    @property
    def file_name(self) -> str:
        """The last part of the path; no two published files share it."""
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Where the file can be downloaded."""
        return f"{_RAW_URL}/{self.repo}/{self.commit}/{self.path}"


@dataclass(frozen=True)
class WeightsChoice:
    """The weights that a network is to get.

    `path` is the checkpoint, None for random weights. `source` is the name of a published file, the absolute path of
    any other file, or `RANDOM_SOURCE`; `reopen` understands it. `published` is set where the bytes are those of a
    published file.
    """

    source: str
    path: Path | None
    sha256: str | None
    random: bool
    published: PublishedWeights | None


_RANDOM = WeightsChoice(source=RANDOM_SOURCE, path=None, sha256=None, random=True, published=None)


@cache
def published_weights() -> tuple[PublishedWeights, ...]:
    """Every published checkpoint that we know of."""
    content = json.loads(Path(__file__).with_name("published_weights.json").read_text(encoding="utf-8"))
    return tuple(
        PublishedWeights(**{**entry, "trained_size": tuple(entry["trained_size"])}) for entry in content["files"]
    )


def find_published(
    network: str, *, width_mult: float, dataset: str, size: tuple[int, int] | None
) -> PublishedWeights | None:
    """The published checkpoint of a network, or None where there is none of that width and data set.

    Among several trained sizes it is the one equal to `size`, else the one whose area is nearest, the larger on a tie.

    Args:
        network: a full name, such as "espnetv2_seg".
        width_mult: the width of the network, matched exactly.
        dataset: "imagenet", "cityscapes", "voc" or "coco".
        size: (height, width) in pixels that the network is to run at, None for one that takes no pictures.
    """

    def distance(published: PublishedWeights) -> tuple[bool, int, int, bool]:
        area, wanted = _area(published.trained_size), _area(size or (0, 0))
        return published.trained_size != size, abs(area - wanted), -area, published.repo != _PREFERRED_REPO

    wanted = (network, width_mult, dataset)
    fitting = [published for published in published_weights() if _identity(published) == wanted]
    return min(fitting, key=distance, default=None)


def cache_dir() -> Path:
    """The folder of downloaded checkpoints: `$ESPNET_EDGE_CACHE`, else the user's cache folder; it may be missing."""
    chosen = os.environ.get("ESPNET_EDGE_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("espnet-edge", appauthor=False)


def verify(path: Path, published: PublishedWeights) -> None:
    """Compare the bytes of `path` with those that were published: by SHA-256 where known, else by git blob SHA-1.

    Raises:
        CheckError: they differ; the message has the file, both digests and the way out.
        OSError: the file cannot be read.
    """
    if problem := _digest_problem(path, published):
        raise CheckError(f"{problem}; delete the file and run again to download it, or pass --weights FILE")


def identify(path: Path) -> PublishedWeights | None:
    """Which published checkpoint the bytes of `path` are, whatever the file is called; None if they are none of them.

    Raises:
        OSError: the file cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        return None
    digests = {sha256_of(path), _git_blob_sha1(path)}
    return next((known for known in published_weights() if _expected_digest(known)[1] in digests), None)


def fetch(published: PublishedWeights, *, progress: bool = True) -> Path:
    """The verified file in the cache, downloaded if it is missing there or damaged.

    An interrupted download goes on where it stopped. The file gets its final name only when it is whole and verified.

    Args:
        published: which file.
        progress: show a progress bar on standard error where that is a terminal.

    Raises:
        UnavailableError: it cannot be downloaded or the cache cannot be written; the message has the URL, the cause
            and what to do without a network.
        CheckError: what was downloaded is not the published file; or the cached file is damaged and cannot be
            downloaded again.
    """
    target = cache_dir() / published.file_name
    if not target.is_file():
        return _download(published, target, progress=progress)
    damage = _digest_problem(target, published)
    if damage is None:
        return target
    print(f"warning: {damage}; the file is not used and downloaded again", file=sys.stderr)
    try:
        return _download(published, target, progress=progress)
    except UnavailableError as error:
        raise CheckError(f"{damage}; downloading it again failed: {error}") from None


def resolve(
    choice: str,
    *,
    network: str,
    width_mult: float,
    dataset: str,
    size: tuple[int, int] | None,
    warn: Callable[[str], None],
) -> WeightsChoice:
    """Turn what the user said about weights into a file, or into random weights with a warning.

    Args:
        choice: "auto" takes the published file and falls back to random weights; "random" takes those and touches no
            network; anything else is the path of a checkpoint.
        network: a full name, such as "espnetv2_seg".
        width_mult: the width of the network.
        dataset: the data set whose classes the network tells apart.
        size: (height, width) in pixels that the network is to run at, None for one that takes no pictures.
        warn: called with one line for each thing that the user must know.

    Raises:
        InputError: the path is not a file, or it is the published file of another network, width or data set; both
            sides and the options that would fit are named.
        CheckError: the published file that was found is not the one that was published.
    """
    if choice == "random":
        warn(f"{_random_warning('random weights were asked for')}; pass --weights auto or a file for trained ones")
        return _RANDOM
    if choice == "auto":
        return _resolve_auto(network, width_mult, dataset, size, warn)
    return _resolve_file(choice, (network, width_mult, dataset), size, warn)


def reopen(source: str, sha256: str | None) -> Path:
    """The checkpoint that an earlier `resolve` found, from the `source` and `sha256` that were written down.

    Raises:
        InputError: the weights were random, or the file is not there any more.
        UnavailableError: it is a published file, not in the cache, and it cannot be downloaded.
        CheckError: the file is not the one it was; the message has both digests.
    """
    if source == RANDOM_SOURCE:
        raise InputError(f"the weights are {source}: there is no file of them; export again with --weights FILE")
    published = next((known for known in published_weights() if known.file_name == source), None)
    if published is not None:
        path = fetch(published)
    elif Path(source).is_file():
        path = Path(source)
    else:
        raise InputError(f"{source}: no such file; put the weights back there, or export again with --weights FILE")
    if published is None and sha256 is None:
        raise CheckError(f"{source}: no sha256 was recorded for it, so it cannot be checked; export again")
    if sha256 is not None and (actual := sha256_of(path)) != sha256:
        raise CheckError(
            f"{path}: sha256 is {actual}, recorded is {sha256}; put the recorded file back, or export again"
        )
    return path


# Choosing.


def _resolve_auto(
    network: str, width_mult: float, dataset: str, size: tuple[int, int] | None, warn: Callable[[str], None]
) -> WeightsChoice:
    published = find_published(network, width_mult=width_mult, dataset=dataset, size=size)
    if published is None:
        reason = f"no weights are published for {network}, width {width_mult}, {dataset}"
        warn(f"{_random_warning(reason)}; {_published_for(network)}, or pass --weights FILE")
        return _RANDOM
    try:
        path = fetch(published)
    except UnavailableError as error:
        # The message of `fetch` ends with its own way out.
        warn(_random_warning(str(error)))
        return _RANDOM
    _warn_of_other_size(published, size, warn)
    return _file_choice(path, published)


def _resolve_file(
    choice: str, asked: tuple[str, float, str], size: tuple[int, int] | None, warn: Callable[[str], None]
) -> WeightsChoice:
    path = Path(choice).expanduser()
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"--weights {choice}: {problem}; give auto, random or a file")
    published = identify(path)
    if published is not None:
        if _identity(published) != asked:
            raise InputError(
                f"--weights {choice}: is {published.file_name}, {_words(_identity(published))}; asked for is "
                f"{_words(asked)}; {_fitting_options(published, asked)}, or give other weights"
            )
        _warn_of_other_size(published, size, warn)
        _keep(path, published, warn)
    return _file_choice(path, published)


def _keep(path: Path, published: PublishedWeights, warn: Callable[[str], None]) -> None:
    """Copy a published file into the cache, where `reopen` will look for it by its name."""
    target = cache_dir() / published.file_name
    try:
        if target.is_file() and _digest_problem(target, published) is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, path.read_bytes())
    except OSError as error:
        warn(f"{path} could not be copied to {target} ({error.strerror}): benchmarks of the PyTorch network need it")


def _file_choice(path: Path, published: PublishedWeights | None) -> WeightsChoice:
    source = str(path.resolve()) if published is None else published.file_name
    return WeightsChoice(source=source, path=path, sha256=sha256_of(path), random=False, published=published)


def _random_warning(reason: str) -> str:
    return f"RANDOM WEIGHTS (seed 0): this network is not trained and its answers mean nothing; {reason}"


def _warn_of_other_size(published: PublishedWeights, size: tuple[int, int] | None, warn: Callable[[str], None]) -> None:
    # All sizes have the same tensors, so nothing else would tell.
    if size is not None and published.trained_size != size:
        warn(
            f"{published.file_name} was trained at {_size_text(published.trained_size)} and is used at "
            f"{_size_text(size)}: the published accuracy does not hold; "
            f"pass --size {_size_text(published.trained_size)} for it"
        )


def _published_for(network: str) -> str:
    widths: dict[str, set[float]] = {}
    for published in published_weights():
        if published.network == network:
            widths.setdefault(published.dataset, set()).add(published.width_mult)
    if not widths:
        return "choose a network that has some"
    listed = "; ".join(f"{dataset} {', '.join(map(str, sorted(found)))}" for dataset, found in sorted(widths.items()))
    return f"choose what is published ({listed})"


def _fitting_options(published: PublishedWeights, asked: tuple[str, float, str]) -> str:
    network, width_mult, dataset = asked
    other_network = published.network != network
    options = [f"the model {_SHORT_NAMES.get(published.network, published.network)} with"] if other_network else []
    # Another network has other defaults, so then everything is said.
    if other_network or published.width_mult != width_mult:
        options.append(f"--width {published.width_mult}")
    if other_network or published.dataset != dataset:
        options.append(f"--dataset {published.dataset}")
    return f"pass {' '.join(options)}"


def _identity(published: PublishedWeights) -> tuple[str, float, str]:
    return published.network, published.width_mult, published.dataset


def _words(identity: tuple[str, float, str]) -> str:
    network, width_mult, dataset = identity
    return f"{network}, width {width_mult}, {dataset}"


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


# Checksums.


def _expected_digest(published: PublishedWeights) -> tuple[str, str]:
    if published.sha256 is not None:
        return "sha256", published.sha256
    return "git blob sha1", published.git_blob_sha1


def _digest_problem(path: Path, published: PublishedWeights) -> str | None:
    kind, expected = _expected_digest(published)
    actual = sha256_of(path) if kind == "sha256" else _git_blob_sha1(path)
    if actual == expected:
        return None
    return f"{path}: {kind} is {actual}, that of the published {published.file_name} is {expected}"


def _git_blob_sha1(path: Path) -> str:
    # The name that git gives to the bytes. SHA-1 is git's choice; the checkpoint reader runs no code of the file.
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


# Downloading.


class _InterruptedTransferError(Exception):
    """The connection ended before the body did; what arrived is in the partial file."""


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects as usual, but never from https to something that can be read or changed on the way."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not _is_safe(newurl):
            fp.close()
            raise URLError(f"it redirects to {newurl}, and only https is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(published: PublishedWeights, target: Path, *, progress: bool) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _partial_file(target) as part:
            _receive_all(published, part, progress=progress)
            if problem := _digest_problem(part, published):
                part.unlink()
                raise CheckError(
                    f"{published.url}: not the published file came, it was deleted ({problem}); {_way_out(published)}"
                )
            part.replace(target)
    except OSError as error:
        # Errors of the network were translated further down: this is the disk.
        raise UnavailableError(
            f"{published.url}: cannot be stored in {target.parent} ({error.strerror or error}); set ESPNET_EDGE_CACHE "
            "to a folder that you may write to and that has space, or pass --weights FILE"
        ) from None
    return target


@contextmanager
def _partial_file(target: Path) -> Iterator[Path]:
    """Where to download to: `<name>.part`, kept for the next try if this one fails.

    While another process writes that one, a name of our own that is removed again: two writers in one file would
    spoil it.
    """
    with _lock(target.parent) as is_ours:
        if is_ours:
            yield target.with_name(f"{target.name}.part")
            return
        part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Whether this process is the one that may write partial files in `folder`; the system frees a dead one's lock."""
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held by another process, or a file system without locks
            is_ours = False
        else:
            is_ours = True
        yield is_ours
    finally:
        os.close(handle)


def _receive_all(published: PublishedWeights, part: Path, *, progress: bool) -> None:
    try:
        _receive(published, part, progress=progress)
    except _InterruptedTransferError:
        # A dropped connection is worth one more try, which goes on where the first one stopped.
        try:
            _receive(published, part, progress=progress)
        except _InterruptedTransferError as error:
            _raise_unavailable(published, f"{error}; what came is kept and the next try goes on from there")


def _receive(published: PublishedWeights, part: Path, *, progress: bool) -> None:
    """Fetch what is missing in `part`, or everything where the server cannot continue."""
    start = part.stat().st_size if part.exists() else 0
    if start == published.size_bytes:
        return
    with _open(published, start if start < _max_bytes(published) else 0) as response:
        offset = start if _continues(response, start) else 0
        total = None if response.length is None else offset + response.length
        if total is not None and total > _max_bytes(published):
            _refuse_size(published, part, total)
        with part.open("ab" if offset else "wb") as file, _progress_bar(progress) as bar:
            task = bar.add_task(published.file_name, total=total, completed=offset)
            for block in _blocks(response):
                file.write(block)
                bar.advance(task, len(block))
                if file.tell() > _max_bytes(published):
                    _refuse_size(published, part, file.tell())
            file.flush()
            os.fsync(file.fileno())
            if total is not None and file.tell() < total:
                raise _InterruptedTransferError(f"the connection ended after {file.tell()} of {total} bytes")


def _open(published: PublishedWeights, start: int) -> HTTPResponse:
    headers = {"User-Agent": "espnet-edge"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        if not _is_safe(published.url):
            raise URLError("not an https address")
        request = Request(published.url, headers=headers)  # noqa: S310 - the scheme was checked above
        response: HTTPResponse = build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # what we have is no beginning of the file: take it whole
            return _open(published, 0)
        _raise_unavailable(published, f"HTTP {error.code} {error.reason}")
    except (OSError, HTTPException) as error:
        _raise_unavailable(published, _reason(error))
    return response


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read1(_READ_BYTES):
            yield block
    except (OSError, HTTPException) as error:
        raise _InterruptedTransferError(f"the connection broke ({_reason(error)})") from None


def _continues(response: HTTPResponse, start: int) -> bool:
    # A server may ignore the range and send everything.
    content_range = response.headers.get("Content-Range", "")
    return start > 0 and response.status == 206 and content_range.startswith(f"bytes {start}-")


def _refuse_size(published: PublishedWeights, part: Path, found: int) -> NoReturn:
    part.unlink(missing_ok=True)
    expected = f"at most {_MAX_BYTES}" if published.size_bytes is None else str(published.size_bytes)
    raise CheckError(
        f"{published.url}: {found} bytes or more came, the published file has {expected}; {_way_out(published)}"
    )


def _max_bytes(published: PublishedWeights) -> int:
    return _MAX_BYTES if published.size_bytes is None else published.size_bytes


def _is_safe(url: str) -> bool:
    # http is let through on this machine only: nobody is on the way there.
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"})


def _reason(error: BaseException) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {_TIMEOUT_S} s"
    # strerror alone: "[Errno 111]" helps nobody.
    return str((cause.strerror if isinstance(cause, OSError) else None) or cause) or type(cause).__name__


def _raise_unavailable(published: PublishedWeights, reason: str) -> NoReturn:
    line = f"{published.url}: {reason}; {_way_out(published)}"
    raise UnavailableError(" ".join(line.split())) from None


def _way_out(published: PublishedWeights) -> str:
    target = cache_dir() / published.file_name
    return f"download it on another machine and put it in {target}, or pass --weights FILE"


def _progress_bar(progress: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not (progress and console.is_terminal),
    )
