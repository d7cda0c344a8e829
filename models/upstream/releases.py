"""Where the authors of the released models keep their files, what checks them, where terms stand.

Data. Addresses are those that the authors' own repositories name; where these name none of a file,
the release says so. Fetches nothing, knows no shape and no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

_MINDALLE = "https://github.com/kakaobrain/minDALL-E"
_RQ = "https://github.com/kakaobrain/rq-vae-transformer"
_HQ = "https://github.com/kakaobrain/hqtransformer"
_TAMING = "https://github.com/CompVis/taming-transformers"
_STORE = "https://arena.kakaocdn.net/brainrepo/models"
_TOKENIZER = (
    "https://raw.githubusercontent.com/kakaobrain/rq-vae-transformer/"
    "c3de514d7c832f63eff333833b456c53a342e8c0/rqvae/txtimg_datasets/tokenizers/pretrained"
)
_HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file's digest is, or begins with where no more of it is published."""

    algorithm: Literal["md5", "sha256"]
    digest: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file, and where in the checkpoint's folder it belongs; with no place an archive of it."""

    address: str
    checksum: Checksum | None = None
    place: str = ""

    @property
    def name(self) -> str:
        """The last part of its address, without a query."""
        return urlsplit(self.address).path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Release:
    """The files of one model; `terms` is the page with its licence.

    Without files, `lacking` says why there is nothing to fetch.
    """

    terms: str
    files: tuple[RemoteFile, ...] = ()
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class RankerFile:
    """What others published and models are ranked by."""

    file: RemoteFile
    about: str
    terms: str


CLIP = RankerFile(
    RemoteFile(
        "https://openaipublic.azureedge.net/clip/models/"
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        Checksum("sha256", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        "clip/ViT-B-32.pt",
    ),
    "CLIP ViT-B/32, MIT",
    "https://github.com/openai/CLIP",
)
# Torchvision publishes the first eight digits of the digest, in the file's name.
CLASSIFIER = RankerFile(
    RemoteFile(
        "https://download.pytorch.org/models/resnet101-63fe2227.pth",
        Checksum("sha256", "63fe2227"),
        "classifier/resnet101-63fe2227.pth",
    ),
    "ResNet-101, BSD-3-Clause (code); trained on ImageNet",
    "https://github.com/pytorch/vision",
)

# The RQ and HQ archives of models of texts hold no tokenizer; both families use the same one.
_BPE_16K = (
    RemoteFile(
        f"{_TOKENIZER}/bpe-16k-vocab.json",
        Checksum("sha256", "d2aab26096e9bd5997d1bb00e55414318163bc5d85652a6cdc63cffd94d9e96e"),
        "tokenizer/bpe-16k-vocab.json",
    ),
    RemoteFile(
        f"{_TOKENIZER}/bpe-16k-merges.txt",
        Checksum("sha256", "3e21329c78e51892bcf06fe184147db7b15b218db073b530e42cf65301e41381"),
        "tokenizer/bpe-16k-merges.txt",
    ),
)


def _kept(terms: str, path: str, *others: RemoteFile) -> Release:
    """An archive in the store, where the folder of each file is called by its MD5.

    minDALL-E's own loader checks that; that it holds for the other families, too, is taken from
    there.
    """
    archive = RemoteFile(f"{_STORE}/{path}", Checksum("md5", path.split("/")[-2]))
    return Release(terms, (archive, *others))


def _rq(path: str, *others: RemoteFile) -> Release:
    return _kept(_RQ, f"RQVAE/{path}", *others)


def _hq(path: str, *others: RemoteFile) -> Release:
    return _kept(f"{_HQ}/blob/main/configs/README.md", f"HQ-transformer/{path}", *others)


def _rudalle(repository: str, name: str) -> Release:
    """Files of three repositories, of which none publishes a digest in a place to quote."""
    utilities = f"{_HUB}/sberbank-ai/rudalle-utils/resolve/main"
    codec, bpe = "vqgan.gumbelf8-sber.model.ckpt", "bpe.model"
    return Release(
        f"{_HUB}/{repository}",
        (
            RemoteFile(f"{_HUB}/{repository}/resolve/main/{name}", None, name),
            RemoteFile(f"{utilities}/{codec}", None, codec),
            RemoteFile(f"{utilities}/{bpe}", None, bpe),
        ),
    )


_TUNED = Release(_MINDALLE, lacking="its authors have not released the fine-tuned weights")
_SHARED = Release(
    _TAMING,
    lacking="its authors share the folder on a web page, without an address of one file: "
    f"{_TAMING} names it",
)
_OWN = Release("", lacking="no weights of it are released: train it here, or bring your own")

RELEASES: dict[str, Release] = {
    "mindalle-1.3b": _kept(_MINDALLE, "minDALL-E/57b008f02ceaa02b779c8b7463143315/1.3B.tar.gz"),
    "mindalle-imagenet-class": _TUNED,
    "mindalle-imagenet-uncond": _TUNED,
    "rq-cc3m-650m": _rq("dcd95e8f08408e113aab6451fae895f5/cc3m.tar.gz", *_BPE_16K),
    "rq-imagenet-480m": _rq("7518a004fe39120fcffbba76005dc6c3/imagenet_480M.tar.gz"),
    "rq-imagenet-821m": _rq("dcd39292319104da5577dec3956bfdcc/imagenet_821M.tar.gz"),
    "rq-imagenet-1.4b": _rq("f5cf4e5f3f0b5088d52cbb5e85c1077f/imagenet_1.4B.tar.gz"),
    "rq-imagenet-3.8b": _rq("e1ee2fef2928f7fd31f53a8348f08b88/imagenet_3.8B_rqvae_50e.tar.gz"),
    "rq-ffhq": _rq("d47570aeff6ba300735606a806f54663/ffhq.tar.gz"),
    "rq-church": _rq("deeb3e0ac6e09923754e3e594ede7b01/church.tar.gz"),
    "rq-cat": _rq("92b4e6a9ace09c9ab8ff9d3b3e688367/cat.tar.gz"),
    "rq-bedroom": _rq("06b72c164cd2fe64fc8ebd6b42b0040f/bedroom.tar.gz"),
    "hq-imagenet-12": _hq("761734d7328fe1d9fab8c8dcff19ac3a/hqtransformer-layer12-imagenet.tar.gz"),
    "hq-imagenet-24": _hq("d8587b8db7ba093502eeb5955314168f/hqtransformer-layer24-imagenet.tar.gz"),
    "hq-imagenet-42": _hq("b9bedf8a9d7159412d26a9e70cd607f6/hqtransformer-layer42-imagenet.tar.gz"),
    "hq-cc15m": _hq(
        "489f2ce45ae426b7f0e679e10f6aeb6f/hqtransformer-layer12-cc15m.tar.gz", *_BPE_16K
    ),
    "hq-ffhq": _hq("ad2edc63a114453360323476e24c8635/hqtransformer-layer24-ffhq.tar.gz"),
    "rudalle-malevich": _rudalle("sberbank-ai/rudalle-Malevich", "pytorch_model_v3.bin"),
    "rudalle-malevich-v2": _rudalle("sberbank-ai/rudalle-Malevich", "pytorch_model_v2.bin"),
    "rudalle-emojich": _rudalle("sberbank-ai/rudalle-Emojich", "pytorch_model.bin"),
    "rudalle-surrealist-xl": _rudalle("shonenkov-AI/rudalle-xl-surrealist", "pytorch_model.bin"),
    "rudalle-kandinsky": Release(
        f"{_HUB}/shonenkov-AI/Kandinsky",
        lacking="its repository gives the weights to whom its authors let in",
    ),
    "vqgan-imagenet": _SHARED,
    "vqgan-ffhq": _SHARED,
    "vqgan-celebahq": _SHARED,
    "vqgan-faceshq": _SHARED,
    **dict.fromkeys(
        ("pixelcnn", "pixelcnn++", "gated-pixelcnn", "image-transformer", "image-transformer-dmol"),
        _OWN,
    ),
}
