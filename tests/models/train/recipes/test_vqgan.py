from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.stage1.vqgan import VQGAN
from models.train.loop.run import Run
from models.train.recipes.vqgan import codes_of, plan_of
from tests.models.mindalle import codec_shape


def test_codes_chosen_by_logits_are_not_trained_as_nearest_vectors(tmp_path: Path) -> None:
    model = VQGAN(replace(codec_shape("tiny"), embed_dim=32, quantizer="gumbel"))
    with pytest.raises(ConfigError, match="gumbel codes can be used, not trained"):
        codes_of(model, Run(tmp_path, 0), plan_of(model, 10, False))
