from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch

from models.errors import ConfigError
from models.train.data import shards
from models.train.data.folder import FolderSet
from models.train.data.sources import open_data


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_shards(pictures: Path, folder: Path, num_shards: int = 3) -> Path:
    """The pictures of a folder, in their order, in shards; returns their pattern."""
    paths = sorted(pictures.glob("*.png"))
    share = -(-len(paths) // num_shards)
    for shard in range(num_shards):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as tar:
            for path in paths[shard * share : (shard + 1) * share]:
                add(tar, f"pictures/{path.name}", path.read_bytes())
                add(tar, f"pictures/{path.stem}.txt", path.with_suffix(".txt").read_bytes())
                add(tar, f"pictures/{path.stem}.json", b"{}")
    return folder / f"{{0000..{num_shards - 1:04d}}}.tar"


def opened(where: Path) -> FolderSet:
    data = open_data(where, Path("none"), 32)
    assert isinstance(data, FolderSet)
    return data


def test_shards_are_the_folder(pictures: Path, tmp_path: Path) -> None:
    pattern = write_shards(pictures, tmp_path)
    folder, made, read = opened(pictures), opened(pattern), opened(pattern)
    assert len(list(tmp_path.glob("*.index.npy"))) == 3
    for data in (made, read):
        assert (data.images, data.held_out) == (folder.images, folder.held_out)
        assert data.ordered(range(40), 3) == folder.ordered(range(40), 3)
        for variant in folder.ordered(range(9), 3):
            assert torch.equal(data.render(variant), folder.render(variant))
            assert data.caption(variant, Random(1)) == folder.caption(variant, Random(1))
    assert made.title(made.variants()[9]) == "0001.tar/pictures/09.png"


def test_each_picture_is_seen_once_an_epoch_wherever_it_is_cut(pictures: Path) -> None:
    data = opened(pictures)
    number = len(data.images)
    whole = data.ordered(range(3 * number), 7)
    for epoch in range(3):
        seen = Counter(whole[epoch * number : (epoch + 1) * number])
        assert seen == Counter(data.variants())
    assert whole[:number] != whole[number : 2 * number]
    assert [*data.ordered(range(5), 7), *data.ordered(range(5, 60), 7)] == whole[:60]
    assert data.ordered(range(number), 8) != whole[:number]


def test_broken_pictures_are_counted_and_others_stand_for_them(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (pictures / "00.png").read_bytes()
    with tarfile.open(tmp_path / "0000.tar", "w") as tar:
        for number in range(30):
            is_broken = number % 3 == 1
            content = good[: 9 * number] if is_broken else good
            add(tar, f"{number:02d}.png", content)
            add(tar, f"{number:02d}.txt", b"broken" if is_broken else b"good")
    data = opened(tmp_path / "0000.tar")
    every = [*data.variants(), *data.judged(9)["val"]]
    for variant in every:
        assert torch.equal(data.render(variant), data.render(every[0]))
        assert data.caption(variant, Random(0)) == "good"
    assert len(data.broken) == 10
    assert "skipped, 10 so far: 0000.tar/" in capsys.readouterr().out


def test_what_are_no_shards_is_said(tmp_path: Path) -> None:
    assert [path.name for path in shards.paths(tmp_path / "a-{08..11}.tar")] == [
        "a-08.tar",
        "a-09.tar",
        "a-10.tar",
        "a-11.tar",
    ]
    with pytest.raises(ConfigError, match="the range is empty"):
        shards.paths(Path("{3..1}.tar"))
    (tmp_path / "x.tar").write_bytes(b"nothing" * 200)
    with pytest.raises(ConfigError, match=r"x\.tar is no tar file"):
        opened(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "y.tar", "w") as tar:
        add(tar, "a.txt", b"words alone")
    with pytest.raises(FileNotFoundError, match="hold no pictures"):
        opened(tmp_path / "y.tar")
