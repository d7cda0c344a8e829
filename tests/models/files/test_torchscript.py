import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.errors import CorruptFileError, UnsafePickleError
from models.files.torchscript import is_torchscript, read_tensors

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("small", torch.arange(6.0).half().view(2, 3).T)
        self.sizes = [1, 2, 3]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x) * self.scale
        return out


def _archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", content)
        archive.writestr("net/constants.pkl", pickle.dumps(()))
    return path


@pytest.fixture
def net(tmp_path: Path) -> tuple[_Net, Path]:
    torch.manual_seed(0)
    net = _Net().eval()
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(net), path)
    return net, path


def test_every_tensor_comes_back_by_its_name(net: tuple[_Net, Path]) -> None:
    wanted = net[0].state_dict()
    found = read_tensors(net[1])
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_archives_are_told_from_checkpoints(net: tuple[_Net, Path], tmp_path: Path) -> None:
    assert is_torchscript(net[1])
    torch.save(net[0].state_dict(), tmp_path / "state.pt")
    assert not is_torchscript(tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("no zip")
    assert not is_torchscript(tmp_path / "text.pt")


def test_anything_but_tensors_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "made"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {target}",)

    path = _archive(tmp_path / "bomb.pt", pickle.dumps(Bomb()))
    assert is_torchscript(path)
    with pytest.raises(UnsafePickleError, match=r"posix\.system"):
        read_tensors(path)
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps(3)])
def test_damaged_archives_are_called_so(tmp_path: Path, content: bytes) -> None:
    path = _archive(tmp_path / "bad.pt", content)
    with pytest.raises(CorruptFileError, match=r"bad\.pt"):
        read_tensors(path)


def test_a_cut_archive_is_called_damaged(net: tuple[_Net, Path]) -> None:
    path = net[1]
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptFileError, match=r"net\.pt"):
        read_tensors(path)


def test_an_archive_with_a_damaged_directory_is_called_damaged(tmp_path: Path) -> None:
    path = _archive(tmp_path / "clip.pt", b"")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03", 1))
    with pytest.raises(CorruptFileError, match=r"clip\.pt is damaged"):
        is_torchscript(path)
