"""From the runs to a checkpoint folder: `python -m models.train ship FOLDER`.

Writes averaged weights in half precision in the engine's own form, with tokenizer and CLIP, and a
sheet of samples beside the runs to look at before the folder is kept.
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from models import pipeline
from models.configs.codec import CodecConfig
from models.configs.enhancement import Enhancement
from models.configs.preset import Preset, SamplingDefaults
from models.configs.prior import PriorConfig, Prompt
from models.configs.rankers import ClipConfig
from models.errors import ConfigError, MissingFileError
from models.files import checkpoint as checkpoints
from models.files import convert, enhance_folder, fingerprint, shards
from models.files.checkpoint import TOKENIZER_FOLDER, Checkpoint
from models.files.convert import FolderInUseError, Tensors
from models.files.places import Stage
from models.flags import amount, count, share
from models.presets.register import PRESETS, get_preset
from models.rerank.clip_files import check_reads
from models.tokenizer import Tokenizer
from models.train import shapes
from models.train.data.emoji.prompts import sheet_prompts
from models.train.loop.checkpoints import averaged, latest
from models.train.options import add_init, add_sampling, parser_of
from models.train.sheet import write_sheet
from models.train.start import codec_shape_of, preset_of

_NUM_CLASSES_SHOWN = 24
_KEPT = ("*.md", "*.png", "NOTICE*", "LICENSE*")
ENHANCE_FOLDER = "enhance"


def preset_to_ship(args: Namespace) -> Preset:
    """What the runs have trained, as the folder will describe it."""
    base = preset_of(args.checkpoint)
    stage1 = codec_shape_of(args.checkpoint, args.stage1)
    stage2 = shapes.load_prior(args.stage2) or base.stage2
    base = _namesake(args, base, stage1, stage2) or base
    name, description, licence = args.name or base.name, base.description, base.licence
    if (stage1, stage2) != (base.stage1, base.stage2):
        width, height = stage1.size
        name = args.name or args.folder.name
        description = f"Trained by models.train: {width}×{height} pixels, {stage2.summary}"
        licence = licence if args.checkpoint else "unknown"
    return Preset(
        name,
        description,
        args.licence or licence,
        stage1,
        stage2,
        clip=_clip(args),
        sampling=_sampling(args, base.sampling),
        enhancement=_enhancement(args, stage1),
    )


def _namesake(
    args: Namespace, base: Preset, stage1: CodecConfig, stage2: PriorConfig
) -> Preset | None:
    """The preset that --name has and that new shapes are those of, if there is one."""
    is_new = args.checkpoint is None or (stage1, stage2) != (base.stage1, base.stage2)
    known = PRESETS.get(args.name or "") if is_new else None
    is_it = known is not None and (known.stage1, known.stage2) == (stage1, stage2)
    return known if is_it else None


def _enhancement(args: Namespace, codec: CodecConfig) -> Enhancement | None:
    """That of --enhance; ConfigError where it is over another codec."""
    if args.enhance is None:
        return None
    enhancement = replace(enhance_folder.noted(args.enhance), folder=ENHANCE_FOLDER)
    enhance_folder.check_fits(enhancement, codec)
    return enhancement


def _sampling(args: Namespace, usual: SamplingDefaults) -> SamplingDefaults:
    given = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    return replace(usual, **{key: value for key, value in given.items() if value is not None})


def _clip(args: Namespace) -> ClipConfig | None:
    _, clip = _found_clip(args)
    if clip is None or args.likelihood_weight is None:
        return clip
    return replace(clip, likelihood_weight=args.likelihood_weight)


def _found_clip(args: Namespace) -> tuple[Path, ClipConfig | None]:
    """The CLIP of the runs, else of the checkpoint, if there is one; and whose folder it is in."""
    own = get_preset("emoji").clip
    runs = (args.clip,) if args.clip else (args.runs / "clip", args.runs)
    for run in runs:
        if own and (run / own.weights).is_file():
            return run, own
    if args.clip:
        raise MissingFileError(f"{args.clip} holds no ranker")
    return args.checkpoint or args.runs, preset_of(
        args.checkpoint
    ).clip if args.checkpoint else None


def _extras(args: Namespace, preset: Preset) -> dict[str, Path]:
    """The files beside the weights: tokenizer and CLIP; CheckpointError where they don't fit."""
    files: dict[str, Path] = {}
    if args.enhance:
        files |= enhance_folder.files(args.enhance, ENHANCE_FOLDER)
    ranker, clip = _found_clip(args)
    if preset.prompt_kind == "text":
        folder = _tokenizer(args)
        tokenizer = Tokenizer.load(folder, preset.prompt_len)
        tokenizer.check_fits(preset.stage2.prompt_vocab_size)
        if clip:
            check_reads(clip, ranker, tokenizer)
        files |= {f"{TOKENIZER_FOLDER}/{path.name}": path for path in Tokenizer.files(folder)}
    names = (clip.weights, clip.config) if clip else ()
    return files | {name: ranker / name for name in names if name}


def _tokenizer(args: Namespace) -> Path:
    """The folder that the options name, else the checkpoint's, else that of the runs."""
    inside = args.checkpoint and args.checkpoint / TOKENIZER_FOLDER
    usual = inside if inside and inside.is_dir() else args.runs / "tokenizer"
    found: Path = args.tokenizer or usual
    return found


def _weights(args: Namespace, stage: Stage, run: Path) -> tuple[int, Tensors]:
    """A run's step and averaged weights; where there is no such run, the checkpoint's."""
    if latest(run) is not None:
        step, weights = averaged(run)
        return step, weights.items()
    if args.checkpoint is None:
        raise MissingFileError(f"{run} holds no run")
    source = checkpoints.open_checkpoint(args.checkpoint)
    load = checkpoints.load_stage1 if stage == "stage1" else checkpoints.load_stage2
    return _noted_steps(source, stage), load(source).state_dict().items()


def _mixed(args: Namespace, weights: Tensors) -> Tensors:
    """Stage 2's weights, and for the rest of --share those that the checkpoint has in their place.

    Fine-tuned weights lie near those they began with, and between the two is often better than
    either: what is new is learnt and little is forgotten (Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models").
    """
    if args.share is None:
        return weights
    if args.checkpoint is None or latest(args.stage2) is None:
        raise ConfigError("--share: of a run's weights, and the rest --init's: give both")
    before = checkpoints.load_stage2(checkpoints.open_checkpoint(args.checkpoint)).state_dict()
    new = dict(weights)
    if {name: old.shape for name, old in before.items()} != {n: w.shape for n, w in new.items()}:
        raise ConfigError(f"--share: {args.stage2} is of another shape than {args.checkpoint}")
    return [(name, before[name].lerp(weight, args.share)) for name, weight in new.items()]


def _noted_steps(checkpoint: Checkpoint, stage: Stage) -> int:
    """After which step a checkpoint's stage was shipped; 0 where it doesn't tell."""
    if checkpoint.layout != "converted":
        return 0
    steps = shards.read_manifest(checkpoint.folder).get("source", {}).get("steps", {})
    return int(steps.get(stage, 0))


def _kept(folder: Path) -> list[Path]:
    """What people have added to a shipped folder."""
    return [path for pattern in _KEPT for path in folder.glob(pattern)]


def _check_replaceable(folder: Path) -> None:
    """FolderInUseError where something would be lost that no run makes again."""
    if Path.cwd().is_relative_to(folder):
        raise FolderInUseError(f"{folder}: you stand in it; call this from another folder")
    known = {folder / shards.MANIFEST_NAME, *_kept(folder)}
    if (folder / shards.MANIFEST_NAME).is_file():
        known |= {folder / name for name in shards.read_manifest(folder)["sha256"]}
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if path not in known and not path.is_dir():
            raise FolderInUseError(f"{path} was not shipped there: move it, or ship elsewhere")


def ship(args: Namespace) -> None:
    """Replace `args.folder` by the present state of the runs; its README stays."""
    folder, preset = args.folder.resolve(), preset_to_ship(args)
    _check_replaceable(folder)
    extras = _extras(args, preset)
    steps1, stage1 = _weights(args, "stage1", args.stage1)
    if preset.enhancement:
        stage1 = list(stage1)
        enhance_folder.check_codec(preset.enhancement, fingerprint.of(stage1))
    steps2, stage2 = _weights(args, "stage2", args.stage2)
    stage2 = _mixed(args, stage2)
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    convert.save(
        draft,
        preset,
        {"stage1": stage1, "stage2": stage2},
        torch.float16,
        extras=extras,
        source={"trained by": "models.train", "steps": {"stage1": steps1, "stage2": steps2}},
    )
    for kept in _kept(folder):
        shutil.copyfile(kept, draft / kept.name)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def _prompts(preset: Preset) -> Sequence[Prompt]:
    if preset.prompt_kind == "text":
        return sheet_prompts()
    return range(min(preset.num_classes or 0, _NUM_CLASSES_SHOWN)) or [None]


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = parser_of("ship", "Make a checkpoint folder of the runs.")
    parser.add_argument("folder", type=Path, help="the checkpoint folder to write")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        help="where the runs lie, and the sheet of pictures comes (default: %(default)s)",
    )
    parser.add_argument("--stage1", type=Path, help="the stage-1 run, where not in --runs")
    parser.add_argument("--stage2", type=Path, help="the stage-2 run, where not in --runs")
    parser.add_argument(
        "--share",
        type=share,
        metavar="SHARE",
        help="of stage 2 that is the run's, the rest --init's: what lies between learns and keeps",
    )
    about = "what was fine-tuned: its stage is taken where there is no run, its tokenizer, CLIP"
    add_init(parser, about)
    parser.add_argument(
        "--enhance", type=Path, metavar="DIR", help="with the enhancement that is shipped there"
    )
    parser.add_argument("--clip", type=Path, help="the ranker's run, where not in --runs")
    parser.add_argument(
        "--likelihood-weight",
        type=amount,
        metavar="W",
        help="what a nat per code counts in a score (default: the ranker's, of a new one 0.15)",
    )
    parser.add_argument("--tokenizer", type=Path, help="where neither in --runs nor in --init")
    parser.add_argument("--name", help="the model's name (default: the folder's)")
    parser.add_argument("--licence", help="of the weights (default: that of --init)")
    add_sampling(parser, "the folder's default")
    parser.add_argument("--shown", type=count, help="prompts on the sheet (default: all)")
    parser.add_argument("--no-ship", action="store_true", help="only draw the sheet")
    args = parser.parse_args(argv)
    for option, run in (("--stage1", args.stage1), ("--stage2", args.stage2)):
        if run is not None and latest(run) is None:
            raise MissingFileError(f"{option}: {run} holds no run")
    args.stage1 = args.stage1 or args.runs / "stage1"
    args.stage2 = args.stage2 or args.runs / "stage2"
    torch.set_num_threads(1)
    if not args.no_ship:
        ship(args)
    shipped = pipeline.load("emoji", args.folder)
    sampling = _sampling(args, shipped.preset.sampling)
    prompts = _prompts(shipped.preset)[: args.shown]
    write_sheet(shipped, args.runs / "sheet.png", sampling, prompts)


if __name__ == "__main__":
    main()
