"""Two families that exist in tests only, as unlike the shipped ones as the seams allow: `Trio` and
`Ripple`, made known and loaded. Both are served by whatever serves the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models import families
from models.configs.preset import Preset, SamplingDefaults
from models.families import CodecFamily, PriorFamily
from models.pipeline import LoadOptions, Pipeline, load
from models.presets.register import PRESETS
from tests.models.mosaic import Mosaic, MosaicConfig
from tests.models.ripple import Ripple, RippleConfig
from tests.models.trio import Trio, TrioConfig

_SAMPLING = SamplingDefaults(top_k=None, num_candidates=4)
_TRIO = Preset(
    name="test-trio",
    description="Three codes a step from vocabularies of 8, 5 and 3",
    licence="Apache-2.0",
    stage1=MosaicConfig(),
    stage2=TrioConfig(),
    sampling=_SAMPLING,
    weights="random",
)
_RIPPLE = Preset(
    name="test-ripple",
    description="A causal convolution without a key-value cache",
    licence="Apache-2.0",
    stage1=MosaicConfig(vocab_sizes=(12,)),
    stage2=RippleConfig(),
    sampling=_SAMPLING,
    weights="random",
)
OTHERS = (_TRIO.name, _RIPPLE.name)


@contextmanager
def registered() -> Iterator[None]:
    """Both families and their presets are known until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.CODECS, "mosaic", CodecFamily(MosaicConfig, Mosaic))
        patch.setitem(families.PRIORS, "trio", PriorFamily(TrioConfig, Trio))
        patch.setitem(families.PRIORS, "ripple", PriorFamily(RippleConfig, Ripple))
        for preset in (_TRIO, _RIPPLE):
            patch.setitem(PRESETS, preset.name, preset)
        yield


def load_any(name: str, options: LoadOptions | None = None) -> Pipeline:
    """As `load`, of these families as well."""
    with registered():
        return load(name, options=options)
