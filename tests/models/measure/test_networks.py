from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from models.errors import ConfigError
from models.measure.impression import crowd_of
from models.measure.networks import ClipNetwork, Inception, open_network
from models.pictures import to_bytes
from models.presets.register import WEIGHTS_FOLDER


class RandomInception(FeatureExtractorInceptionV3):  # type: ignore[misc]  # it ships no types
    """The library's network with the weights that torch begins with, not read from anywhere."""

    def load_state_dict(self, *_: object, **__: object) -> None:
        return None


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RandomInception("random", ["2048"], nothing)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


def pictures(number: int, seed: int) -> Tensor:
    return torch.rand(number, 3, 20, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
@pytest.mark.timeout(900)  # the library takes eigenvalues of 2,048 by 2,048 numbers
def test_inceptions_figures_are_the_librarys_on_the_same_pictures_and_weights(
    weights: Path, tmp_path: Path
) -> None:
    network = open_network(f"inception={weights}")
    made, real = pictures(12, 1), pictures(14, 2)
    for name, some in (("made", made), ("real", real)):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(to_bytes(some)):
            Image.fromarray(picture).save(tmp_path / name / f"{number:03}.png")
    told = calculate_metrics(
        input1=str(tmp_path / "made"),
        input2=str(tmp_path / "real"),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        fid=True,
        isc=True,
        prc=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no processes beside this one
        verbose=False,
    )
    crowd = crowd_of(network, torch.split(made, 5), len(made))
    found = crowd.figures(crowd_of(network, [real], len(real)))
    assert found["Inception score"] == pytest.approx(told["inception_score_mean"], rel=1e-6)
    assert found["precision"] == pytest.approx(told["precision"])
    assert found["recall"] == pytest.approx(told["recall"])
    wanted = told["frechet_inception_distance"]
    assert found["Fréchet distance"] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_inception_reads_its_weights_safely_and_sees_what_the_library_sees(weights: Path) -> None:
    some = pictures(1, 3)
    looked = Inception(weights).look(some)
    known = FeatureExtractorInceptionV3("known", ["2048", "logits_unbiased"], str(weights))
    features, logits = known(torch.from_numpy(to_bytes(some)).permute(0, 3, 1, 2))
    assert torch.equal(looked.features, features)
    assert looked.logits is not None
    assert torch.equal(looked.logits, logits)


def test_weights_of_another_network_and_none(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"other\.pth holds no weights of this Inception"):
        open_network(f"inception={tmp_path / 'other.pth'}")
    with pytest.raises(ConfigError, match=r"none\.pth"):
        open_network(f"inception={tmp_path / 'none.pth'}")


def test_a_folders_clip_has_names_for_classes() -> None:
    folder = WEIGHTS_FOLDER / "emoji"
    assert open_network(str(folder)).look(pictures(1, 4)).logits is None
    network = open_network(str(folder), lambda: ["red heart", "camera"])
    assert isinstance(network, ClipNetwork)
    logits = network.look(pictures(3, 4)).logits
    assert logits is not None
    assert logits.shape == (3, 2)
