from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models as zoo
from torchvision.transforms._presets import ImageClassification

from models.configs.preset import Preset
from models.configs.rankers import ClassifierConfig
from models.drawing.sampling import RowParams
from models.errors import CheckpointError, ConfigError, KeyMismatchError, MissingFileError
from models.files import config as configs
from models.files.convert import convert
from models.pictures import to_bytes
from models.pipeline import load as load_pipeline
from models.presets.register import get_preset, without_missing_ranker
from models.rerank import rankers
from models.rerank.classifier import Classifier, load
from tests.models.random_checkpoint import write_random_checkpoint

_CONFIG = ClassifierConfig("classifier/small.pth", "resnet18", short_side=40, size=32)
_CLASSES = 10


def _network() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = zoo.resnet18(weights=None, num_classes=_CLASSES).eval()
    return network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "classifier").mkdir()
    torch.save(_network().state_dict(), tmp_path / _CONFIG.weights)
    return tmp_path


def _pixels(count: int = 3) -> torch.Tensor:
    return torch.rand((count, 3, 48, 64), generator=torch.Generator().manual_seed(1))


def _score(classifier: Classifier, prompt: int, pixels: torch.Tensor) -> torch.Tensor:
    features = classifier.features(prompt)
    assert features is not None
    return classifier.scores(features, pixels)


def test_a_score_is_the_classs_probability_as_torchvision_has_it(folder: Path) -> None:
    prepare = ImageClassification(crop_size=32, resize_size=40)
    pictures = [Image.fromarray(picture) for picture in to_bytes(_pixels())]
    with torch.inference_mode():
        logits = _network()(torch.stack([prepare(picture) for picture in pictures]))
    scores = _score(load(_CONFIG, folder, _CLASSES), 7, _pixels())
    torch.testing.assert_close(scores, logits.softmax(-1)[:, 7], atol=1e-6, rtol=1e-5)


def test_a_score_does_not_depend_on_company(folder: Path) -> None:
    classifier = load(_CONFIG, folder, _CLASSES)
    together = _score(classifier, 2, _pixels(9))
    for number in (0, 8):
        assert torch.equal(
            _score(classifier, 2, _pixels(9)[number : number + 1])[0], together[number]
        )
    assert _score(classifier, 2, _pixels(0)).shape == (0,)


def test_what_is_no_class_is_not_judged(folder: Path) -> None:
    classifier = load(_CONFIG, folder, _CLASSES)
    assert classifier.features("a heart") is None
    assert classifier.features(None) is None


def test_weights_without_training_counters_load(folder: Path) -> None:
    wanted = _score(load(_CONFIG, folder, _CLASSES), 1, _pixels())
    state = {k: v for k, v in _network().state_dict().items() if "num_batches" not in k}
    torch.save(state, folder / _CONFIG.weights)
    assert torch.equal(_score(load(_CONFIG, folder, _CLASSES), 1, _pixels()), wanted)


@pytest.mark.parametrize(
    ("config", "num_classes", "error"),
    [
        (ClassifierConfig("classifier/none.pth", "resnet18"), _CLASSES, MissingFileError),
        (ClassifierConfig(_CONFIG.weights, "resnet34"), _CLASSES, KeyMismatchError),
        (ClassifierConfig(_CONFIG.weights, "resnet18"), 11, KeyMismatchError),
        (ClassifierConfig(_CONFIG.weights, "vgg11"), _CLASSES, ConfigError),
    ],
)
def test_what_does_not_fit_is_told(
    folder: Path, config: ClassifierConfig, num_classes: int, error: type[CheckpointError]
) -> None:
    with pytest.raises(error):
        load(config, folder, num_classes)


def _written(folder: Path, preset: Preset) -> Preset:
    configs.write(folder, preset)
    return configs.read(folder)


def test_a_folders_config_names_its_classifier(folder: Path) -> None:
    preset = Preset(
        "mine",
        "",
        "MIT",
        get_preset("tiny-rq-class").stage1,
        get_preset("tiny-rq-class").stage2,
        sampling=get_preset("tiny-rq-class").sampling,
        classifier=_CONFIG,
    )
    assert _written(folder, preset) == preset
    assert isinstance(rankers.load(preset, folder, torch.device("cpu")), Classifier)
    assert preset.has_scores
    text = get_preset("tiny-rq")
    with pytest.raises(ConfigError, match="takes no class"):
        _written(folder, Preset("mine", "", "MIT", text.stage1, text.stage2, classifier=_CONFIG))


def test_a_class_model_that_has_one_ranks_its_pictures(folder: Path) -> None:
    preset = replace(get_preset("tiny-class"), classifier=_CONFIG)
    write_random_checkpoint(folder, preset)
    converted = convert(folder, folder / "converted")
    pictures = load_pipeline("tiny-class", converted.folder).generate(
        7, [RowParams(0, number) for number in range(3)]
    )
    judge = load(_CONFIG, folder, _CLASSES)
    pixels = torch.stack([picture.pixels for picture in pictures])
    assert converted.preset.classifier == _CONFIG
    assert [picture.score for picture in pictures] == _score(judge, 7, pixels).tolist()
    assert pictures[0].score is not None
    assert pictures[0].score > (pictures[-1].score or 0)


def test_a_released_class_model_is_ranked_where_the_file_is_there(tmp_path: Path) -> None:
    preset = get_preset("rq-imagenet-480m")
    assert preset.classifier is not None
    assert not without_missing_ranker(preset, tmp_path).has_scores
    (tmp_path / "classifier").mkdir()
    (tmp_path / preset.classifier.weights).touch()
    assert without_missing_ranker(preset, tmp_path) == preset
