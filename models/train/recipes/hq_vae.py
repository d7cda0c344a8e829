"""Train the HQ family's stage 1 on scenes: `python -m models.train.recipes.hq_vae --resume`.

As the VQGAN's recipe (its losses, its codebook by moving averages, k-means start, restarts), with a
commitment and a codebook a level. Several workers share each batch; a resumed run repeats an
uninterrupted one. Knows nothing of text.
"""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count, islice
from random import Random

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from models.configs import HQVAEConfig
from models.stage1.hq_vae import HQVAE, Quantised
from models.train.data.scenes import SceneSet, open_scenes
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.run import Run, Schedule, arguments, save_grid, span, train
from models.train.stage1 import Codebook, perplexity, psnr, reconstruction_loss
from models.train.stage2 import average_gradients

# 8×8 and 16×16 codes of 128 pixels. Without norms and attention what stands in one place hardly
# changes the codes of another, which is noise to stage 2; and it learns faster: after 600 steps of
# 8 pictures at ch 32, 26.4 dB on single things (GroupNorm 25.5, with attention as well 25.4) and
# 84 % of the finer codes beside a changed thing kept (63 and 64 %).
SHAPE = HQVAEConfig(
    embed_dim=16,
    n_embed=(1024, 1024),
    z_channels=96,
    resolution=128,
    ch=48,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(),
    patch_size=4,
    norm="none",
    use_attn=False,
)
_NUM_JUDGED = 96
_BATCH = 16  # pictures at once where no gradients are needed
_NUM_TO_START_CODES = 192  # pictures for k-means: a level has at least 64 vectors in each


@dataclass(frozen=True, slots=True)
class HQVAEPlan:
    """The recipe's numbers."""

    schedule: Schedule
    unquantised: int = 200
    restart_every: int = 20
    muon_lr: float = 0.012
    adam_lr: float = 1.2e-3
    commitment: float = 0.25
    average: float = 0.998


def blurred(model: HQVAE, features: Tensor) -> list[Tensor]:
    """Vectors of each level as if nothing were quantised: a coarse level keeps only local means.

    With folding, a coarse level could hold the whole map, and the finer ones would learn nothing.
    """
    ratio = model.config.ratio
    levels, coarse = [], None
    for level, steps in enumerate(reversed(range(len(model.config.n_embed)))):
        smooth = features
        if steps:
            pooled = F.avg_pool2d(features, ratio**steps)
            smooth = F.interpolate(pooled, scale_factor=float(ratio**steps), mode="nearest")
        own = smooth
        for down in model.downsamples[:steps]:
            own = down(own)
        vectors = own if coarse is None else own - coarse
        levels.append(vectors)
        if level < len(model.upsamples):
            coarse = model.upsamples[level](vectors if coarse is None else coarse + vectors)
    return levels


class HQVAETrainer:
    """The update of a run, with the codebooks beside the gradients; one a worker."""

    def __init__(self, model: HQVAE, run: Run, plan: HQVAEPlan) -> None:
        self.model = model
        self.run = run
        self.plan = plan
        model.quantizers.requires_grad_(False)
        books = zip(model.config.n_embed, model.config.dims, strict=True)
        self.codebooks = nn.ModuleList(Codebook(*book) for book in books)
        self.learner = Learner(
            model,
            optimisers(model, plan.muon_lr, plan.adam_lr),
            plan.schedule,
            plan.average,
            beside={"codebooks": self.codebooks},
        )

    def step(self, step: int, images: Tensor) -> dict[str, float]:
        """One update on this worker's images [B, 3, H, W] in [-1, 1]."""
        features = self.model.features(images)
        values: dict[str, float] = {}
        commitment = features.new_zeros(())
        if step < self.plan.unquantised:
            vectors = blurred(self.model, features)
        else:
            levels = self.model.quantise(features)
            self._move_codes(step, levels)
            vectors = [q.wanted + (q.vectors - q.wanted).detach() for q in levels]
            commitment = sum((F.mse_loss(q.wanted, q.vectors) for q in levels), commitment)
            values = {"commitment": float(commitment.detach()), **_use(self.model, levels)}
        reconstruction = reconstruction_loss(self.model.decode_vectors(vectors), images)
        self.learner.backward(reconstruction + self.plan.commitment * commitment)
        values["loss"] = average_gradients(self.model, reconstruction.detach())
        self.learner.advance(step)
        return values

    @torch.no_grad()
    def start_codes(self, images: Tensor, rng: torch.Generator) -> None:
        """K-means over the vectors of many pictures [N, 3, H, W], level after level."""
        features = torch.cat([self.model.features(part) for part in torch.split(images, _BATCH)])
        for level, codebook in enumerate(self.codebooks):
            wanted = self.model.quantise(features)[level].wanted
            _codebook(codebook).start(self._book(level), _flat(wanted), rng)

    @torch.no_grad()
    def _move_codes(self, step: int, levels: Sequence[Quantised]) -> None:
        for level, quantised in enumerate(levels):
            vectors, codes = gathered(_flat(quantised.wanted)), gathered(quantised.codes.flatten())
            codebook = _codebook(self.codebooks[level])
            codebook.update(self._book(level), vectors, codes)
            if step % self.plan.restart_every == 0:
                codebook.restart(self._book(level), vectors, self.run.torch_rng(step))

    def _book(self, level: int) -> Tensor:
        return self.model.quantizer(level).embedding.weight


def gathered(values: Tensor) -> Tensor:
    """All workers' rows, in the workers' order."""
    if not dist.is_initialized():
        return values
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def _codebook(module: nn.Module) -> Codebook:
    assert isinstance(module, Codebook)
    return module


def _flat(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def _use(model: HQVAE, levels: Sequence[Quantised]) -> dict[str, float]:
    sizes = model.config.n_embed
    return {
        f"perplexity_{level}": perplexity(quantised.codes, sizes[level])
        for level, quantised in enumerate(levels)
    }


@torch.no_grad()
def evaluate(model: HQVAE, images: Tensor) -> tuple[dict[str, float], Tensor]:
    """PSNR (of all levels, of the coarsest alone) and codes used; and the reconstructions."""
    levels = [model.quantise(model.features(part)) for part in torch.split(images, _BATCH)]
    codes = [[level.codes for level in found] for found in levels]
    made = torch.cat([model.decode(grids) for grids in codes])
    blank = [None] * (len(model.config.n_embed) - 1)
    coarse = torch.cat([model.decode([grids[0], *blank]) for grids in codes])
    used = [torch.unique(torch.cat(grids)).numel() for grids in zip(*codes, strict=True)]
    values = {"psnr": psnr(made, images), "psnr_coarse": psnr(coarse, images)}
    return values | {f"codes_{level}": float(n) for level, n in enumerate(used)}, made


def held_out_pictures(held: SceneSet) -> dict[str, Tensor]:
    """What a run is judged by: art that training never shows, alone and in scenes of its own."""
    chosen = Random("judged").sample(held.images, min(_NUM_JUDGED, len(held.images)))
    singles = [next(held.variants(image)) for image in chosen]
    several = filter(lambda scene: scene.kind != "single", map(partial(held.scene, 1), count()))
    return {
        "single": torch.stack([held.render(scene) for scene in singles]),
        "scene": torch.stack([held.render(scene) for scene in islice(several, _NUM_JUDGED)]),
    }


def _judge(trainer: HQVAETrainer, pictures: dict[str, Tensor], step: int) -> None:
    """Log what the averaged weights reach, and lay originals and reconstructions side by side."""
    model = HQVAE(trainer.model.config)
    model.load_state_dict(trainer.learner.average.weights)
    pairs = []
    for name, images in pictures.items():
        values, made = evaluate(model, images)
        trainer.run.log(step, **{f"{name}_{key}": value for key, value in values.items()})
        pairs.append(torch.stack([images[:24], made[:24]], dim=1).flatten(0, 1))
    save_grid(torch.cat(pairs) * 0.5 + 0.5, 12, trainer.run.folder / "grid.png")
    trainer.run.plot("loss", "perplexity_0", "perplexity_1", "single_psnr", "scene_psnr")


def _work(worker: int, args: Namespace, store: str) -> None:
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    if args.workers > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=worker,
            world_size=args.workers,
            timeout=timedelta(days=7),  # a run that was paused goes on
        )
    torch.manual_seed(args.seed)
    data = open_scenes(args.art, SHAPE.resolution)
    plan = HQVAEPlan(Schedule(args.steps))
    trainer = HQVAETrainer(HQVAE(SHAPE), Run(args.run, args.seed), plan)
    if args.resume and (state := trainer.run.load()) is not None:
        trainer.learner.restore(state)

    def pictures(step: int, number: int) -> Tensor:
        rng = trainer.run.rng(step)
        return torch.stack([data.render(data.draw(rng)) for _ in range(number)])

    def step_once(step: int) -> dict[str, float]:
        if step == plan.unquantised:
            trainer.start_codes(pictures(-1, _NUM_TO_START_CODES), trainer.run.torch_rng(-1))
        return trainer.step(step, pictures(step, args.batch)[worker :: args.workers])

    steps = span(args, trainer.learner.next_step)
    if worker > 0:
        for step in steps:
            step_once(step)
        return
    judged = held_out_pictures(open_scenes(args.art, SHAPE.resolution, is_held_out=True))
    save = (args.save_every, lambda _: trainer.run.save(trainer.learner.state()))
    look = (args.look_every, lambda step: _judge(trainer, judged, step))
    train(trainer.run, steps, step_once, [save, look])


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("Train the HQ family's stage 1 on scenes.", "runs/hq-vae", 12000)
    parser.add_argument("--look-every", type=int, default=500, help="steps between judgements")
    parser.add_argument("--workers", type=int, default=1, help="processes that share a batch")
    args = parser.parse_args(argv)
    if args.workers == 1:
        _work(0, args, "")
        return
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        spawn(_work, (args, store), nprocs=args.workers)  # type: ignore[no-untyped-call]  # torch has no types for it


if __name__ == "__main__":
    main()
