"""A program: a step of a transfer to ImageGPT at minDALL-E's size, with random bfloat16 weights.

Arguments: layers, pictures a step, and whether activations are computed again. Says the loss, the
seconds, those of the processor, and the most memory of a step that comes after another, so that
optimisers have all theirs.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from models.configs.transformer import TransformerConfig
from models.presets.register import get_preset
from models.stage2.transformer import Transformer
from models.train.loop.engine import Engine
from models.train.loop.run import Run
from models.train.recipes import transformer
from models.train.recipes.prior import Examples, PriorTrainer
from models.train.recipes.transfer import without_text

_FEW = 8


def shape(n_layers: int) -> TransformerConfig:
    """Class-conditional, of 1,000 classes."""
    config = get_preset("mindalle-1.3b").stage2
    assert isinstance(config, TransformerConfig)
    return replace(without_text(config, "class", 1000), n_layers=n_layers)


def measure(n_layers: int, batch: int, *, recomputes: bool) -> dict[str, float]:
    """A step of the transfer's recipe, after a short one of a few codes."""
    config = shape(n_layers)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = Transformer(config)
    torch.set_default_dtype(torch.float32)
    examples = Examples(
        torch.randint(0, 1000, (batch, 1)), torch.randint(0, config.vocab_size_img, (batch, 256))
    )
    plan = transformer.plan_of(10, is_fine_tuning=True)
    with TemporaryDirectory() as folder:
        engine = Engine(recomputes=recomputes)
        trainer = PriorTrainer(
            model, None, Run(Path(folder), 0), plan, transformer.loss, engine=engine
        )
        trainer.step(0, Examples(examples.prefix[:1], examples.codes[:1, :_FEW]))
        began = time.monotonic(), time.process_time()
        loss = trainer.step(1, examples)["loss"]
        took = time.monotonic() - began[0], time.process_time() - began[1]
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    return {
        "loss": loss,
        "seconds": took[0],
        "processor_seconds": took[1],
        "peak_gib": int(peak) / 2**20,
    }


if __name__ == "__main__":
    layers, pictures, again = sys.argv[1:]
    found = measure(int(layers), int(pictures), recomputes=again == "again")
    sys.stdout.write(json.dumps(found))
