"""What is known of the released files, against what others say of the same."""

from __future__ import annotations

import json
import re

import open_clip
import pytest
from torchvision.models import ResNet101_Weights

from models.configs.rankers import IMAGENET_CLASSIFIER
from models.presets.register import PRESETS
from models.upstream.releases import CLASSIFIER, CLIP, RELEASES, RemoteFile
from tests.models.golden import GOLDEN

FILES = {file.address: file for release in RELEASES.values() for file in release.files}


def test_every_preset_without_weights_says_where_they_are_or_why_not() -> None:
    assert RELEASES.keys() == {name for name, one in PRESETS.items() if one.weights is None}
    for release in RELEASES.values():
        assert bool(release.files) != bool(release.lacking)
        assert release.terms or not release.files


@pytest.mark.parametrize("file", FILES.values(), ids=lambda file: file.name)
def test_addresses_are_of_files_and_sums_are_sums(file: RemoteFile) -> None:
    assert re.fullmatch(r"https://[a-z.]+/[\w./-]+\.[a-z]+", file.address)
    if file.checksum:
        length = {"md5": 32, "sha256": 64}[file.checksum.algorithm]
        assert re.fullmatch(f"[0-9a-f]{{{length}}}", file.checksum.digest)
    assert bool(file.place) != file.name.endswith(".tar.gz")


def test_clips_weights_are_those_that_open_clip_fetches() -> None:
    known = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    preset = PRESETS["mindalle-1.3b"]
    assert known["url"] == CLIP.file.address
    assert CLIP.file.checksum is not None
    assert f"/{CLIP.file.checksum.digest}/" in known["url"]
    assert preset.clip is not None
    assert (preset.clip.model_name, preset.clip.weights) == ("ViT-B-32-quickgelu", CLIP.file.place)


def test_the_classifiers_weights_are_those_that_torchvision_fetches() -> None:
    assert ResNet101_Weights.IMAGENET1K_V1.url == CLASSIFIER.file.address
    assert CLASSIFIER.file.place == IMAGENET_CLASSIFIER.weights


def test_the_tokenizer_is_the_one_of_the_recorded_ids() -> None:
    recorded = json.loads((GOLDEN / "tokenizer_16k/expected.json").read_text())["sha256"]
    for name in ("rq-cc3m-650m", "hq-cc15m"):
        sums = {file.name: file.checksum.digest for file in RELEASES[name].files if file.checksum}
        assert recorded.items() <= sums.items()
