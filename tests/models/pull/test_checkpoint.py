"""From an archive on a server, or files beside each other, to a folder that draws."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

from models.errors import CheckpointError, HashMismatchError, MissingFileError, WrongChecksumError
from models.files.checkpoint import load_stage1, load_stage2, load_tokenizer, open_checkpoint
from models.presets.register import get_preset
from models.pull import checkpoint as pulling
from models.pull.checkpoint import Sources, Wanted
from models.pull.fetch import Fetcher
from models.upstream.releases import CLIP, RELEASES, Checksum, Release, RemoteFile
from tests.models.golden import GOLDEN
from tests.models.pull.shelf import Shelf, serving
from tests.models.random_rudalle_checkpoint import small_malevich, write_random_rudalle

MINDALLE = Wanted.of(get_preset("mindalle-1.3b"), ranked=False)


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    with httpx.Client(timeout=10, trust_env=False) as http:
        yield Fetcher(http, max_tries=2, pause=lambda _: None, progress=io.StringIO())


def packed(folder: Path, name: str) -> bytes:
    """A `.tar.gz` of the folder, called `name` inside."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(folder, name)
    return out.getvalue()


@pytest.fixture(scope="session")
def archive() -> bytes:
    return packed(GOLDEN / "mindalle_text", "1.3B")


def sources_of(shelf: Shelf, archive: bytes) -> Sources:
    digest = hashlib.sha256(archive).hexdigest()
    return Sources(f"{shelf.url}/1.3B.tar.gz", Checksum("sha256", digest))


def assert_same_model(folder: Path, source: Path) -> None:
    for load in (load_stage1, load_stage2):
        found, wanted = (load(open_checkpoint(at)).state_dict() for at in (folder, source))
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_an_archive_becomes_a_converted_folder_and_is_fetched_once(
    archive: bytes, fetcher: Fetcher, tmp_path: Path
) -> None:
    folder = tmp_path / "models/mindalle-1.3b"
    said: list[str] = []
    with serving(Shelf({"/1.3B.tar.gz": archive}, breaks_after=[5000])) as shelf:
        sources = sources_of(shelf, archive)
        assert pulling.pull(MINDALLE, folder, sources, fetcher, said.append)
        assert len(shelf.asked) == 2
        assert not pulling.pull(MINDALLE, folder, sources, fetcher, said.append)
        assert len(shelf.asked) == 2
    assert open_checkpoint(folder, verify_sha256=True).layout == "converted"
    assert_same_model(folder, GOLDEN / "mindalle_text")
    assert load_tokenizer(open_checkpoint(folder)) is not None
    assert [path.name for path in folder.parent.iterdir()] == ["mindalle-1.3b"]
    assert said[:2] == ["1.3B.tar.gz: sha256 is right", "1.3B.tar.gz: unpacking"]
    assert "is there already, sha256 of" in said[-1]


def test_a_file_is_taken_as_it_is_and_stays(
    archive: bytes, fetcher: Fetcher, tmp_path: Path
) -> None:
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(archive)
    digest = Checksum("sha256", hashlib.sha256(archive).hexdigest())
    sources = Sources(str(path), digest)
    assert pulling.pull(MINDALLE, tmp_path / "out", sources, fetcher)
    assert_same_model(tmp_path / "out", GOLDEN / "mindalle_text")
    assert path.read_bytes() == archive
    with pytest.raises(WrongChecksumError, match="57b008f02ceaa02b779c8b7463143315"):
        pulling.pull(MINDALLE, tmp_path / "other", Sources(str(path)), fetcher)
    assert not (tmp_path / "other").exists()


def test_a_damaged_folder_is_told_and_one_of_others_is_left_alone(
    archive: bytes, fetcher: Fetcher, tmp_path: Path
) -> None:
    with serving(Shelf({"/1.3B.tar.gz": archive})) as shelf:
        sources = sources_of(shelf, archive)
        pulling.pull(MINDALLE, tmp_path / "out", sources, fetcher)
        (tmp_path / "out/config.yaml").write_text("{}")
        with pytest.raises(HashMismatchError):
            pulling.pull(MINDALLE, tmp_path / "out", sources, fetcher)
        (tmp_path / "used").mkdir()
        (tmp_path / "used/note").touch()
        with pytest.raises(CheckpointError, match="holds something else"):
            pulling.pull(MINDALLE, tmp_path / "used", sources, fetcher)
        with pytest.raises(CheckpointError, match="is a file"):
            pulling.pull(MINDALLE, tmp_path / "used/note", sources, fetcher)
        assert not (tmp_path / "used/note.pull").exists()


def test_what_was_fetched_is_kept_when_the_rest_fails(
    archive: bytes, fetcher: Fetcher, tmp_path: Path
) -> None:
    bad = packed(GOLDEN / "mindalle_text/tokenizer", "1.3B")
    with serving(Shelf({"/1.3B.tar.gz": bad})) as shelf:
        for _ in range(2):
            with pytest.raises(CheckpointError):
                pulling.pull(MINDALLE, tmp_path / "out", sources_of(shelf, bad), fetcher)
        assert len(shelf.asked) == 1
        assert not (tmp_path / "out").exists()
        shelf.files["/1.3B.tar.gz"] = archive
        pulling.pull(MINDALLE, tmp_path / "out", sources_of(shelf, archive), fetcher)
    assert_same_model(tmp_path / "out", GOLDEN / "mindalle_text")


def test_two_calls_do_not_write_one_file(archive: bytes, fetcher: Fetcher, tmp_path: Path) -> None:
    with (
        pulling._alone(tmp_path / "out.pull"),
        pytest.raises(CheckpointError, match="another call"),
    ):
        pulling.pull(MINDALLE, tmp_path / "out", Sources("none.tar.gz"), fetcher)


def test_a_mirror_is_asked_by_host_and_path_before_the_official_address() -> None:
    (file,) = RELEASES["mindalle-1.3b"].files
    sources = Sources(mirrors=("http://one.example/w/", "http://two.example"))
    path = "arena.kakaocdn.net/brainrepo/models/minDALL-E/57b008f02ceaa02b779c8b7463143315"
    assert sources.addresses(file) == [
        f"http://one.example/w/{path}/1.3B.tar.gz",
        f"http://two.example/{path}/1.3B.tar.gz",
        f"https://{path}/1.3B.tar.gz",
    ]


def at_mirror(file: RemoteFile) -> str:
    return f"/{file.address.removeprefix('https://')}"


def test_a_model_in_single_files_is_put_together(fetcher: Fetcher, tmp_path: Path) -> None:
    small = small_malevich(layers=2, side=4, text=8)
    write_random_rudalle(tmp_path / "source", small, name="pytorch_model_v3.bin")
    release = RELEASES["rudalle-malevich"]
    inside = {at_mirror(file): tmp_path / "source" / file.place for file in release.files}
    files = {path: source.read_bytes() for path, source in inside.items()}
    with serving(Shelf(files)) as shelf:
        others = [path for path in (tmp_path / "source").iterdir() if path not in inside.values()]
        archive = tmp_path / "others.tar"
        with tarfile.open(archive, "w") as tar:  # sizes that the released model does not need told
            for path in others:
                tar.add(path, path.name)
        sources = Sources(str(archive) if others else "", mirrors=(shelf.url,))
        wanted = Wanted.of(get_preset("rudalle-malevich"))
        said: list[str] = []
        assert pulling.pull(wanted, tmp_path / "out", sources, fetcher, said.append)
        bare = [line for line in said if "none is published to compare it with" in line]
        assert len(bare) == 3 + bool(others)
        assert len(shelf.asked) == len(files) == 3
    assert_same_model(tmp_path / "out", tmp_path / "source")


def summed(content: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(content).hexdigest())


def test_what_ranks_is_brought_along_unless_the_archive_has_it(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    """A release of the test's own, all of it from a mirror, with a ranker that its config names."""
    source = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "source"))
    clip = "clip: {model_name: ViT-B-32-quickgelu, weights: clip/ViT-B-32.pt}\n"
    (source / "config.yaml").write_text((source / "config.yaml").read_text() + clip)
    archive, weights = packed(source, "1.3B"), bytes(range(256))
    official = RemoteFile("https://a.example/m/1.3B.tar.gz", summed(archive))
    ranker = replace(CLIP, file=replace(CLIP.file, checksum=summed(weights)))
    wanted = Wanted("mine", Release("", (official,)), ranker)
    files = {"/a.example/m/1.3B.tar.gz": archive, at_mirror(ranker.file): weights}
    with serving(Shelf(files)) as shelf:
        sources = Sources(mirrors=(shelf.url,))
        pulling.pull(wanted, tmp_path / "out", sources, fetcher)
        assert (tmp_path / "out" / CLIP.file.place).read_bytes() == weights
        assert open_checkpoint(tmp_path / "out", verify_sha256=True).preset.clip is not None
        assert len(shelf.asked) == 2
        (source / "clip").mkdir()
        (source / CLIP.file.place).write_bytes(b"\0its own")
        own = Sources(f"{shelf.url}/own", mirrors=sources.mirrors)
        shelf.files["/own"], shelf.asked = packed(source, "1.3B"), []
        wanted = replace(wanted, release=Release("", lacking="none"))
        pulling.pull(wanted, tmp_path / "other", own, fetcher)
        assert (tmp_path / "other" / CLIP.file.place).read_bytes() == b"\0its own"
        assert [path for path, _, _ in shelf.asked] == ["/own"]


def test_a_ranker_alone_lands_in_its_place_once(fetcher: Fetcher, tmp_path: Path) -> None:
    ranker = replace(CLIP, file=replace(CLIP.file, checksum=summed(b"\0weights")))
    with serving(Shelf({at_mirror(ranker.file): b"\0weights"})) as shelf:
        sources = Sources(mirrors=(shelf.url,))
        for _ in range(2):
            path = pulling.place(ranker, tmp_path, sources, fetcher)
            assert path == tmp_path / "clip/ViT-B-32.pt"
            assert path.read_bytes() == b"\0weights"
        assert len(shelf.asked) == 1
        assert [one.name for one in tmp_path.iterdir()] == ["clip"]
        with pytest.raises(WrongChecksumError):
            pulling.place(CLIP, tmp_path, sources, fetcher)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mindalle-imagenet-class", "have not released"),
        ("vqgan-imagenet", "share the folder on a web page"),
        ("pixelcnn", "train it here"),
        ("emoji", "nothing to pull"),
        ("tiny", "nothing to pull"),
    ],
)
def test_what_can_not_be_fetched_says_why(
    name: str, words: str, fetcher: Fetcher, tmp_path: Path
) -> None:
    with pytest.raises(MissingFileError, match=words):
        pulling.pull(Wanted.of(get_preset(name)), tmp_path / "out", Sources(), fetcher)
    assert list(tmp_path.iterdir()) == []
