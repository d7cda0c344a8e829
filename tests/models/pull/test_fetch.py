"""Files over real HTTP from servers that misbehave."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.errors import CorruptFileError, DownloadError, WrongChecksumError
from models.pull.fetch import Fetcher, shown
from models.upstream.releases import Checksum, RemoteFile
from tests.models.pull.shelf import Shelf, serving

CONTENT = random.Random(1).randbytes(300_000)
SUM = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
MD5 = Checksum("md5", hashlib.md5(CONTENT).hexdigest())


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with serving(Shelf({"/w.bin": CONTENT})) as at_work:
        yield at_work


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def fetcher(pauses: list[float]) -> Iterator[Fetcher]:
    with httpx.Client(timeout=10, trust_env=False) as http:
        yield Fetcher(http, max_tries=3, pause=pauses.append, progress=io.StringIO())


def fetch(fetcher: Fetcher, shelf: Shelf, folder: Path, checksum: Checksum | None = SUM) -> bytes:
    file = RemoteFile(f"{shelf.url}/w.bin", checksum)
    return fetcher.fetch(file, [file.address], folder).read_bytes()


@pytest.mark.parametrize("checksum", [SUM, MD5, Checksum("sha256", SUM.digest[:8]), None])
def test_a_file_comes_whole_and_is_not_asked_for_again(
    checksum: Checksum | None, shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    for _ in range(2):
        assert fetch(fetcher, shelf, tmp_path, checksum) == CONTENT
    assert [wanted for _, wanted, _ in shelf.asked] == [None]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("checksum", [SUM, None])
def test_what_broke_off_goes_on_where_it_stopped(
    checksum: Checksum | None, shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.breaks_after = [100_000, 50_000, 1, 1, 1, 1, 1]  # more than tries: each brought something
    assert fetch(fetcher, shelf, tmp_path, checksum) == CONTENT
    starts = [wanted for _, wanted, _ in shelf.asked]
    assert starts[:4] == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]
    assert {condition for _, _, condition in shelf.asked[1:]} == {'"one"'}


def test_a_later_call_goes_on_too(shelf: Shelf, fetcher: Fetcher, tmp_path: Path) -> None:
    shelf.breaks_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"nothing more in 3 tries.*call again to go on"):
        fetch(fetcher, shelf, tmp_path)
    shelf.breaks_after, shelf.asked = [], []
    assert fetch(fetcher, shelf, tmp_path) == CONTENT
    assert shelf.asked == [("/w.bin", "bytes=100000-", '"one"')]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_file_that_changed_in_between_is_taken_from_the_start(
    has_ranges: bool, shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    changed = CONTENT[::-1]
    shelf.breaks_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch(fetcher, shelf, tmp_path, None)
    shelf.files["/w.bin"], shelf.etag, shelf.has_ranges = changed, '"two"', has_ranges
    shelf.breaks_after = []
    assert fetch(fetcher, shelf, tmp_path, None) == changed


def test_a_server_that_ignores_ranges_is_read_from_the_start(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.has_ranges, shelf.breaks_after = False, [1000, 2000]
    assert fetch(fetcher, shelf, tmp_path) == CONTENT
    shelf.files["/w.bin"] = CONTENT + b"x"  # and one that never gets further is given up
    shelf.breaks_after, shelf.asked = [1000] * 9, []
    with pytest.raises(DownloadError, match="nothing more in 3 tries"):
        fetch(fetcher, shelf, tmp_path, None)
    assert len(shelf.asked) == 4


def test_without_a_name_for_its_state_only_a_checksum_lets_two_parts_be_one_file(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    for etag in (None, 'W/"weak"'):
        for checksum, wanted in ((SUM, "bytes=1000-"), (None, None)):
            shelf.etag, shelf.asked, shelf.breaks_after = etag, [], [1000]
            assert fetch(fetcher, shelf, tmp_path / str(etag is None), checksum) == CONTENT
            assert shelf.asked[1][1:] == (wanted, None)


def test_parts_of_two_files_are_found_by_the_sum_and_fetched_anew(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.etag, shelf.breaks_after = None, [1000, 0, 0, 0]
    shelf.files["/w.bin"] = CONTENT[::-1]
    with pytest.raises(DownloadError):
        fetch(fetcher, shelf, tmp_path)
    shelf.files["/w.bin"], shelf.breaks_after = CONTENT, []
    assert fetch(fetcher, shelf, tmp_path) == CONTENT


@pytest.mark.parametrize("claimed", [10, 299_999])
def test_a_length_that_is_too_short_is_found_by_the_sum(
    claimed: int, shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.claimed = claimed
    with pytest.raises((WrongChecksumError, DownloadError)):
        fetch(fetcher, shelf, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".bin"]


def test_a_length_that_is_too_long_or_missing_does_no_harm(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    for claimed in (300_001, 10**9, -1):
        shelf.claimed = claimed
        assert fetch(fetcher, shelf, tmp_path / str(claimed)) == CONTENT


def test_more_than_the_disk_or_the_limit_holds_is_not_begun(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.claimed = 10**15
    with pytest.raises(DownloadError, match="too many"):
        fetch(fetcher, shelf, tmp_path)
    with pytest.raises(DownloadError, match="of disk free"):
        fetch(Fetcher(fetcher.http, max_bytes=10**18), shelf, tmp_path)
    shelf.claimed = -1
    with pytest.raises(DownloadError, match="sends more than 1000 bytes"):
        fetch(Fetcher(fetcher.http, max_bytes=1000), shelf, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.stat().st_size]


def test_another_range_than_asked_for_is_not_used(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.shift, shelf.breaks_after = 5, [1000]
    assert fetch(fetcher, shelf, tmp_path) == CONTENT
    assert [wanted for _, wanted, _ in shelf.asked] == [None, "bytes=1000-", None]


def test_a_file_that_is_no_longer_so_long_is_fetched_anew(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.breaks_after = [200_000, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch(fetcher, shelf, tmp_path, None)
    shelf.files["/w.bin"], shelf.breaks_after = CONTENT[:9], []
    assert fetch(fetcher, shelf, tmp_path, None) == CONTENT[:9]


def test_a_server_is_asked_again_when_it_says(
    shelf: Shelf, fetcher: Fetcher, pauses: list[float], tmp_path: Path
) -> None:
    shelf.statuses = [503, 429]
    assert fetch(fetcher, shelf, tmp_path) == CONTENT
    assert pauses == [7.0, 7.0]


def test_a_file_that_moved_goes_on_where_it_stopped_too(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.breaks_after = [1000]
    with serving(Shelf({}, moved={"/w.bin": f"{shelf.url}/w.bin"})) as old:
        assert fetch(fetcher, old, tmp_path, None) == CONTENT
        assert [wanted for _, wanted, _ in old.asked] == [None, "bytes=1000-"]
    assert shelf.asked[1][1:] == ("bytes=1000-", '"one"')
    with serving(Shelf({})) as round_and_round:
        round_and_round.moved = {"/w.bin": f"{round_and_round.url}/w.bin"}
        with pytest.raises(DownloadError, match="redirects"):
            fetch(fetcher, round_and_round, tmp_path / "other", None)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"content-type": "text/html; charset=utf-8"}, "sends a web page"),
        ({"content-encoding": "gzip"}, "in another encoding"),
    ],
)
def test_what_is_no_file_is_told(
    headers: dict[str, str], words: str, shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.headers = headers
    with pytest.raises(DownloadError, match=words):
        fetch(fetcher, shelf, tmp_path)


def test_a_page_without_its_type_is_told_by_what_it_holds(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.files["/w.bin"] = b"<!doctype html><p>log in</p>"
    with pytest.raises(CorruptFileError, match="is a web page"):
        fetch(fetcher, shelf, tmp_path)


def test_another_file_is_told_with_both_sums(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.files["/w.bin"] = b"\0other"
    found = hashlib.sha256(b"\0other").hexdigest()
    with pytest.raises(WrongChecksumError, match=f"{found}, not {SUM.digest}"):
        fetch(fetcher, shelf, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_is_asked_and_all_failures_are_told(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    file = RemoteFile(f"{shelf.url}/w.bin", SUM)
    others = [f"{shelf.url}/none", "http://127.0.0.1:9/w.bin", "ftp://127.0.0.1/w.bin"]
    with pytest.raises(
        DownloadError, match=r"/none answers with HTTP 404; .*:9/w\.bin brought nothing"
    ):
        fetcher.fetch(file, others, tmp_path)
    assert fetcher.fetch(file, [*others, file.address], tmp_path).read_bytes() == CONTENT


def test_a_part_from_one_mirror_is_completed_by_another(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.breaks_after = [1000, 0, 0, 0]
    file = RemoteFile(f"{shelf.url}/w.bin", SUM)
    with serving(Shelf({"/w.bin": CONTENT}, etag='"elsewhere"')) as other:
        addresses = [file.address, f"{other.url}/w.bin"]
        assert fetcher.fetch(file, addresses, tmp_path).read_bytes() == CONTENT
        assert other.asked == [("/w.bin", "bytes=1000-", None)]


def test_a_bar_shows_the_time_left_where_a_person_looks(shelf: Shelf, tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with httpx.Client(trust_env=False) as http:
        fetch(Fetcher(http, progress=terminal), shelf, tmp_path)
    last = terminal.getvalue().split("\r")[-1]
    assert "w.bin: 100%" in last
    assert "300k/300k" in last
    assert "<00:00" in last


@pytest.mark.parametrize("value", ["bytes 0-9/" + "9" * 5000, "bytes x", "items 0-9/10", ""])
def test_a_range_that_means_nothing_is_not_used(
    value: str, shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.breaks_after, shelf.headers = [1000, 0, 0, 0, 0, 0], {"content-range": value}
    with pytest.raises(DownloadError, match="nothing more in 3 tries"):
        fetch(fetcher, shelf, tmp_path)


def test_no_secret_of_an_address_is_kept_or_shown(
    shelf: Shelf, fetcher: Fetcher, tmp_path: Path
) -> None:
    shelf.files, shelf.breaks_after = {"/w.bin?token=word": CONTENT}, [1000, 0, 0, 0]
    file = RemoteFile(f"{shelf.url.replace('//', '//me:word@')}/w.bin?token=word", SUM)
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(file, [file.address], tmp_path)
    kept = "".join(f"{path.name} {path.read_bytes()!r}" for path in tmp_path.iterdir())
    assert "word" not in str(caught.value) + kept
    assert shown("https://me:word@a.example/f.tar?token=1#x") == "https://a.example/f.tar"
    assert "word" not in shown("https://me:word@[::1/f?word")
