"""A file from whichever of its addresses gives it: taken up where it broke off, checked at the end.

A server is believed in nothing that can be checked: lengths, ranges and what it calls the file.
Knows nothing of archives and models.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import httpx
from tqdm import tqdm

from models import lookalikes
from models.errors import CheckpointError, CorruptFileError, DownloadError, WrongChecksumError
from models.pull.draft import Draft, Extent
from models.upstream.releases import Checksum, RemoteFile

_LONGEST_PAUSE_S = 120.0
_ASK_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class _BrokenOffError(Exception):
    """The answer ended early, or none came; asking again may bring more."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches files through one HTTP client.

    `max_tries` are those in a row that bring nothing new. `progress` is where a bar with the time
    left is drawn, if it is a terminal.
    """

    http: httpx.Client
    max_tries: int = 6
    max_bytes: int = 64 << 30
    pause: Callable[[float], None] = time.sleep
    progress: TextIO = field(default_factory=lambda: sys.stderr)

    def fetch(self, file: RemoteFile, addresses: Sequence[str], folder: Path) -> Path:
        """The file, in a folder of downloads; one that lies there whole is not asked for again.

        Raises:
            DownloadError: none of the addresses gave it.
            CheckpointError: the only one gave something else.
        """
        folder.mkdir(parents=True, exist_ok=True)
        failures: list[DownloadError | CheckpointError] = []
        for address in addresses:
            target = folder / _slot(file, address)
            try:
                if not target.exists():
                    self._whole(address, file.checksum, Draft(target))
                    Draft(target).finish()
            except (DownloadError, CheckpointError) as error:
                failures.append(error)
                continue
            return target
        if len(failures) == 1:
            raise failures[0]
        raise DownloadError("; ".join(map(str, failures)) or f"{file.name} has no address")

    def _whole(self, address: str, checksum: Checksum | None, draft: Draft) -> None:
        """Fill the draft from the address and check it."""
        was_resumed = draft.size > 0
        self._fill(address, draft, is_checked=checksum is not None)
        if checksum is None:
            return
        try:
            check(draft.path, checksum, shown(address))
        except CheckpointError:
            draft.drop()
            if not was_resumed:
                raise
            self._whole(address, checksum, draft)  # the bytes of two files, perhaps

    def _fill(self, address: str, draft: Draft, *, is_checked: bool) -> None:
        best, tries = draft.size, 0
        while True:
            headers = draft.request_headers(address, is_checked=is_checked)
            try:
                self._transfer(address, draft, headers)
                return
            except _BrokenOffError as error:
                tries = 0 if draft.size > best else tries + 1
                best = max(best, draft.size)
                if tries >= self.max_tries:
                    message = f"{shown(address)} brought nothing more in {tries} tries: {error}"
                    raise DownloadError(f"{message}; call again to go on") from error
                wish = 0.5 * 2**tries if error.pause_s is None else error.pause_s
                self.pause(min(wish, _LONGEST_PAUSE_S))

    def _transfer(self, address: str, draft: Draft, headers: dict[str, str]) -> None:
        """One request. Returns when the draft is whole as far as the server tells."""
        asked = {"accept-encoding": "identity", **headers}
        try:
            with self.http.stream("GET", address, headers=asked, follow_redirects=True) as answer:
                if answer.status_code == 416 and draft.size:
                    _beyond_the_end(answer, draft)
                    return
                extent = self._extent(address, answer, draft)
                draft.begin(address, extent, answer.headers)
                self._write(answer, draft, extent.total)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise DownloadError(f"{shown(address)} is no address: {error}") from error
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            raise _BrokenOffError(_reason(error)) from error
        if extent.total is not None and draft.size < extent.total:
            raise _BrokenOffError(f"{draft.size} of {extent.total} bytes came")

    def _extent(self, address: str, answer: httpx.Response, draft: Draft) -> Extent:
        """What an answer brings, once it is one that can be used."""
        _refuse(address, answer)
        extent = Extent.of(answer.status_code, answer.headers)
        if extent is None or extent.start not in (0, draft.size):
            draft.drop()
            raise _BrokenOffError("the server sends another part than was asked for")
        needed = (extent.total or 0) - extent.start
        free = shutil.disk_usage(draft.path.parent).free
        if extent.total is not None and extent.total > self.max_bytes:
            raise DownloadError(f"{shown(address)} would be {extent.total} bytes: too many")
        if needed > free:
            raise DownloadError(f"{needed / 1e9:.1f} GB to come, {free / 1e9:.1f} GB of disk free")
        return extent

    def _write(self, answer: httpx.Response, draft: Draft, total: int | None) -> None:
        limit = self.max_bytes if total is None else total
        name = draft.path.name.removesuffix(".part").partition("-")[2]
        bar = tqdm(
            desc=name, total=total, initial=draft.size, unit="B", unit_scale=True,
            disable=None, file=self.progress,
        )  # fmt: skip
        with bar, draft.path.open("ab") as file:
            # As they come: pieces of one size would be waited for, and lost where it breaks off.
            for piece in answer.iter_raw():
                if file.tell() + len(piece) > limit:
                    draft.drop()
                    raise DownloadError(f"{shown(str(answer.url))} sends more than {limit} bytes")
                file.write(piece)
                bar.update(len(piece))


def check(path: Path, checksum: Checksum, origin: str) -> None:
    """Compare a file with what its publisher told of it.

    Raises:
        WrongChecksumError: it is another one; both digests are told.
        CorruptFileError: its first bytes tell what it is instead.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, checksum.algorithm).hexdigest()
    if found.startswith(checksum.digest.lower()):
        return
    what = lookalikes.content(path, is_text=True)
    if what and "archive" not in what:
        raise CorruptFileError(f"{origin} {what}")
    raise WrongChecksumError(
        f"{origin}: its {checksum.algorithm} is {found}, not {checksum.digest}: another file"
    )


def shown(address: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return re.sub(r"//[^/@]*@", "//", address.partition("?")[0])
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _slot(file: RemoteFile, address: str) -> str:
    """The file's name among the downloads: another file of the same name gets another one."""
    key = file.checksum.digest if file.checksum else hashlib.sha256(address.encode()).hexdigest()
    return f"{key[:12]}-{file.name[-100:]}"


def _refuse(address: str, answer: httpx.Response) -> None:
    """DownloadError or _BrokenOffError for an answer that does not bring the file."""
    where, status = shown(address), answer.status_code
    if status in _ASK_LATER:
        pause_s = None
        with suppress(KeyError, ValueError):
            pause_s = max(0.0, float(answer.headers["retry-after"]))
        raise _BrokenOffError(f"HTTP {status}", pause_s)
    if status not in (200, 206):
        raise DownloadError(f"{where} answers with HTTP {status}")
    if answer.url.scheme != "https" and address.lower().startswith("https:"):
        raise DownloadError(f"{where} leads to an address without TLS")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise DownloadError(f"{where} sends the file in another encoding, unasked")
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise DownloadError(f"{where} sends a web page: it needs a login, or is another address")


def _beyond_the_end(answer: httpx.Response, draft: Draft) -> None:
    """For a server without a byte after ours: nothing is missing, or it is another file."""
    extent = Extent.of(416, answer.headers)
    if extent is None or extent.total != draft.size:
        draft.drop()
        raise _BrokenOffError("the server's file is shorter than what it gave before")


def _reason(error: httpx.HTTPError) -> str:
    return " ".join(str(error).split()) or type(error).__name__
