"""Files in a folder or in a bucket, through obstore: the only file that knows that package.

Every operation has a time limit, within which the library itself tries again, with growing pauses,
what a store refuses for now. What fails is ResultsUnavailable; the log says so once, and once more
when the store is back. Knows no job, no queue, and no format of a file.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.config.results import ResultsSettings
from service.errors import ResultsUnavailable, StartRefused

if TYPE_CHECKING:  # the package is loaded where a store is opened, and nowhere else
    import obstore
    from obstore import SignCapableStore
    from obstore.store import LocalStore

_CHUNK_BYTES = 256 * 1024
_AT_ONCE = 32  # files on their way, per process
_MAX_BYTES = 64 * 1024 * 1024  # no file of ours is larger
_KEPT = "private, max-age=3600, immutable"  # the same bytes for as long as they exist
_CONNECT_S = 3.0
_TRIES = 10  # within the time limit
_FIRST_PAUSE = timedelta(seconds=0.1)

_CODE = re.compile(r"<Code>(\w+)</Code>")  # in what S3 answers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose bytes come as they are asked for: ResultsUnavailable if they stop coming."""

    num_bytes: int
    chunks: AsyncIterator[bytes]


def open_store(
    settings: ResultsSettings, on_fault: Callable[[], None] = lambda: None
) -> ObjectStore | None:
    """The store that is set; None where Redis itself keeps the results. Connects to nothing.

    `on_fault` is told of each operation that fails.

    Raises:
        StartRefused: the package is missing, or the store can't be made like this.
    """
    if settings.place.scheme == "redis":
        return None
    try:
        return ObjectStore(settings, on_fault)
    except ModuleNotFoundError:
        raise StartRefused(
            f"MINDALLE_RESULTS__URL: {settings.url} needs a package that is not installed: "
            "pip install 'mindalle-serve[stores]'"
        ) from None


class ObjectStore:
    """One folder or bucket. Make it with `open_store`."""

    def __init__(self, settings: ResultsSettings, on_fault: Callable[[], None]) -> None:
        import obstore  # noqa: PLC0415 - it costs a start that has no use for it
        import obstore.exceptions  # noqa: PLC0415 - as above

        self._lib = obstore
        self._errors = (obstore.exceptions.BaseError, OSError, TimeoutError)
        self._timeout_s = settings.timeout_s
        self._presign_s = settings.presign_s
        try:
            self._folder, self._bucket = _opened(settings)
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise StartRefused(f"MINDALLE_RESULTS__URL: {_named(settings, error)}") from None
        self._root = Path(settings.place.prefix) if self._folder else None
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._on_fault = on_fault
        self._is_away = False

    @property
    def _store(self) -> LocalStore | SignCapableStore:
        store = self._bucket or self._folder
        assert store is not None
        return store

    @property
    def longest_s(self) -> float:
        """How long one operation may take, until it has room and then until it has ended."""
        return 2 * self._timeout_s

    async def put(self, name: str, data: bytes, media_type: str) -> None:
        """Store a file, or the same file again."""
        about: dict[Any, str] = {"Content-Type": media_type, "Cache-Control": _KEPT}
        attributes = about if self._bucket else None
        async with self._answering():
            await self._lib.put_async(self._store, name, data, attributes=attributes)

    async def get(self, name: str) -> bytes | None:
        """The whole file; None where there is none."""
        async with self._answering():
            found = await self._found(name)
            return None if found is None else bytes(await found.bytes_async())

    async def open(self, name: str) -> StoredFile | None:
        """The file in pieces, so that none is held as a whole; None where there is none."""
        async with self._answering():
            found = await self._found(name)
        return None if found is None else StoredFile(found.meta["size"], self._pieces(found))

    async def _found(self, name: str) -> obstore.GetResult | None:
        try:
            found = await self._lib.get_async(self._store, name)
        except FileNotFoundError as error:
            if await self._is_gone(error):
                raise
            return None
        if found.meta["size"] > _MAX_BYTES:
            raise OSError(f"{name} has {found.meta['size']} bytes: we did not write that")
        return found

    async def _is_gone(self, error: FileNotFoundError) -> bool:
        """Whether the folder or bucket as a whole is not there: then nothing is known of a file."""
        if self._root is not None:
            return not await asyncio.to_thread(self._root.is_dir)
        code = _CODE.search(str(error))
        return code is not None and code[1] == "NoSuchBucket"

    async def _pieces(self, found: obstore.GetResult) -> AsyncIterator[bytes]:
        pieces = aiter(found.stream(_CHUNK_BYTES))
        while True:
            async with self._answering():
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def delete(self, names: Sequence[str]) -> None:
        """Remove files; those that are not there are none to remove."""
        for some in [names] if self._bucket else [[name] for name in names]:
            async with self._answering():
                await self._removed(some)

    async def _removed(self, names: Sequence[str]) -> None:
        with suppress(FileNotFoundError):  # only folders say so
            await self._lib.delete_async(self._store, names)

    async def delete_below(self, folder: str, *, but: Collection[str | None] = ()) -> None:
        """Remove all files whose names begin with `folder` and a slash, but for some."""
        async with self._answering():
            found = await self._lib.list(self._store, folder).collect_async()
        await self.delete([each["path"] for each in found if each["path"] not in but])
        if self._root is not None and not but:
            async with self._answering():
                await asyncio.to_thread(_remove_folder, self._root, folder)

    async def sign(self, names: Sequence[str], seconds: float) -> list[str]:
        """Addresses under which anybody may read the files for so long, or as long as is set.

        Empty where the store has no such addresses, or shall give none.
        """
        limit_s = min(self._presign_s, seconds)
        if self._bucket is None or limit_s < 1:
            return []
        limit = timedelta(seconds=limit_s)
        async with self._answering():
            return list(await self._lib.sign_async(self._bucket, "GET", list(names), limit))

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """A time limit and room for one operation; ResultsUnavailable in place of its errors."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._room.acquire()
            try:
                async with asyncio.timeout(self._timeout_s):
                    yield
            finally:
                self._room.release()
        except self._errors as error:
            if not self._is_away:
                _log.warning("the store of results: %s", in_one_line(error))
            self._is_away = True
            self._on_fault()
            raise ResultsUnavailable from error
        if self._is_away:
            _log.info("the store of results answers again")
        self._is_away = False


def _remove_folder(root: Path, name: str) -> None:
    """With what its writers had half written when they were killed: the library lists only files
    that are whole.
    """
    if not root.is_dir():  # a share that is not mounted: its files are to be removed later
        raise OSError(f"{root} is no folder any more")
    folder = root / name
    if folder.parent == root and name not in ("", ".", ".."):
        shutil.rmtree(folder, ignore_errors=True)


def in_one_line(error: BaseException) -> str:
    """An error of a store, without the library's own look at its inside."""
    text = str(error) or "no answer in time"
    line = text.splitlines()[0].partition(": <?xml")[0][:500]
    code = _CODE.search(text)
    return f"{line}: {code[1]}" if code else line


def _named(settings: ResultsSettings, error: BaseException) -> str:
    """What a store can't be made of. The system's errors about a folder don't say which."""
    cause = in_one_line(error)
    is_folder = settings.place.scheme == "file"
    return f"no folder for files at {settings.place.prefix}: {cause}" if is_folder else cause


def _opened(settings: ResultsSettings) -> tuple[LocalStore | None, SignCapableStore | None]:
    """A folder or a bucket."""
    from obstore.store import (  # noqa: PLC0415 - as above
        AzureStore,
        GCSStore,
        LocalStore,
        S3Store,
    )

    place = settings.place
    match place.scheme:
        case "s3":
            return None, S3Store(place.bucket, **_options(settings))
        case "gs":
            return None, GCSStore(place.bucket, **_options(settings))
        case "az":
            return None, AzureStore(place.bucket, **_options(settings))
    return LocalStore(place.prefix, mkdir=True, automatic_cleanup=True), None


def _options(settings: ResultsSettings) -> dict[str, Any]:
    """Of a bucket; what is not here comes from the provider's own variables."""
    limit = timedelta(seconds=settings.timeout_s)
    client: dict[str, Any] = {
        "timeout": limit,
        "connect_timeout": min(limit, timedelta(seconds=_CONNECT_S)),
    }
    retry: dict[str, Any] = {
        "max_retries": _TRIES,
        "retry_timeout": limit / 2,  # so that its own words come before our time limit
        "backoff": {"init_backoff": _FIRST_PAUSE, "max_backoff": max(limit / 4, _FIRST_PAUSE)},
    }
    options: dict[str, Any] = {"client_options": client, "retry_config": retry}
    if settings.place.prefix:
        options["prefix"] = settings.place.prefix
    if settings.endpoint:
        options["endpoint"] = settings.endpoint
        client["allow_http"] = settings.endpoint.startswith("http:")
    return options
