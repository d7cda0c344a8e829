from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import ConfigError
from models.train.data import shards
from models.train.data.data_set import Variant
from models.train.data.folder import Crops, FolderSet
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


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY\x01\x00v\x00{'descr'", b"other"])
def test_a_damaged_index_is_made_again(left: bytes, pictures: Path, tmp_path: Path) -> None:
    pattern = write_shards(pictures, tmp_path, 1)
    whole = opened(pattern)
    (tmp_path / "0000.index.npy").write_bytes(left)
    again = opened(pattern)
    assert again.names() == whole.names()
    assert np.load(tmp_path / "0000.index.npy").shape == (24, 4)


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


def test_no_held_out_picture_stands_for_a_broken_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(22):
        good = Image.new("RGB", (9, 9), (number, 0, 0))
        path = tmp_path / f"{number:02d}.png"
        path.write_bytes(b"broken") if number in {18, 21} else good.save(path)
    data = opened(tmp_path)
    assert data.held_out == (19,)
    reds = [data.render(Variant(number))[0, 0, 0] for number in (18, 19, 20, 21)]
    assert [round(float(red) * 127.5 + 127.5) for red in reds] == [20, 19, 20, 0]
    assert "skipped, 1 so far: 18.png: is no picture\n" in capsys.readouterr().out


def test_a_picture_is_shown_in_several_squares(tmp_path: Path) -> None:
    gradient = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90)
    for number in range(4):
        gradient.resize((96, 32)).save(tmp_path / f"{number}.png")
    data = open_data(tmp_path, Path("none"), 32, crops=Crops(3))
    assert isinstance(data, FolderSet)
    squares = [variant for variant in data.variants() if variant.image == 3]
    left = [float(data.render(variant)[0, 0, 0]) for variant in (*squares, Variant(3))]
    assert len({round(value, 2) for value in left}) == 4
    epochs = [data.ordered(range(start, start + 4), 0) for start in (0, 4, 8)]
    assert {variant for epoch in epochs for variant in epoch} == set(data.variants())
    assert all(len({variant.image for variant in epoch}) == 4 for epoch in epochs)


def test_a_square_may_be_smaller_and_mirrored() -> None:
    columns = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90)
    assert columns.getpixel((0, 0)) == 0
    crops, seen = Crops(1, least=0.75, mirrors=True), set()
    for number in range(40):
        first, last = (
            cast(int, crops.cut(columns, 64, Random(number)).getpixel((x, 9))) for x in (0, 63)
        )
        seen.add(first < last)
        assert 0.75**0.5 - 0.03 < abs(last - first) / 255 <= 1
    assert seen == {True, False}


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
