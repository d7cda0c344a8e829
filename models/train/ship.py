"""From the runs to a checkpoint folder: `python -m models.train.ship FOLDER`.

Writes averaged weights in half precision in the engine's own form, with tokenizer and CLIP, and a
sheet of samples beside the runs to look at before the folder is kept.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from models import pipeline
from models.configs import SamplingDefaults
from models.files import convert
from models.presets import get_preset
from models.train.data.emoji.prompts import sheet_prompts
from models.train.data.tokens import NAME
from models.train.sheet import write_sheet


def averaged(run: Path) -> tuple[int, list[tuple[str, Tensor]]]:
    """A run's step and its averaged weights."""
    state = torch.load(run / "state.pt", weights_only=True)
    return int(state["step"]), list(state["average"].items())


def ship(runs: Path, folder: Path, stage2_run: Path, preset_name: str = "emoji") -> None:
    """Replace `folder` by the present state of the runs; its README stays."""
    steps1, stage1 = averaged(runs / "stage1")
    steps2, stage2 = averaged(stage2_run)
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    files = [f"tokenizer/{NAME}-vocab.json", f"tokenizer/{NAME}-merges.txt"]
    clip = ["clip/clip.safetensors", "clip/open_clip_config.json"]
    extras = {name: runs / name for name in files} | {name: runs / "clip" / name for name in clip}
    convert.save(
        draft,
        replace(get_preset(preset_name), weights=None),
        {"stage1": stage1, "stage2": stage2},
        torch.float16,
        extras=extras,
        source={"trained by": "models.train", "steps": {"stage1": steps1, "stage2": steps2}},
    )
    for kept in [*folder.glob("*.md"), *folder.glob("*.png"), *folder.glob("NOTICE")]:
        shutil.copyfile(kept, draft / kept.name)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Make a checkpoint folder of the runs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--stage2", type=Path, help="the stage-2 run, where not in --runs")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--no-ship", action="store_true", help="only draw the sheet")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.no_ship:
        ship(args.runs, args.folder, args.stage2 or args.runs / "stage2")
    defaults = get_preset("emoji").sampling
    sampling = SamplingDefaults(
        args.temperature or defaults.temperature, args.top_k, args.top_p, defaults.num_candidates
    )
    shipped = pipeline.load("emoji", args.folder)
    write_sheet(shipped, args.runs / "sheet.png", sampling, sheet_prompts())


if __name__ == "__main__":
    main()
