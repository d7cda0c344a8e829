"""`mindalle bench`: what the engine reaches on this machine, and what limits it.

Prints a table for people and, as the last line, JSON for everything else. Which models are measured
is told in `subject`, how times are taken in `stopwatch`, and what they are compared with in
`machine` and `baselines`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import torch

from models.errors import ConfigError
from models.flags import count, count_or_none, several, threads
from models.measure import comparison, machine, naive
from models.measure.baselines import is_block_stack
from models.measure.devices import device
from models.measure.stopwatch import BaselineTimes, Result, measure
from models.measure.subject import SHAPE, Subject, chosen, compared, fill
from models.pipeline import DTYPES, LoadOptions
from models.presets.register import PRESETS

_COLUMNS = (
    f"\n{'setting':<16}{'rows':>5}{'prefill':>9}{'step':>9}{'codes/s':>9}{'images/s':>10}"
    f"{'pixels':>9}{'rerank':>9}{'all/s':>8}{'MB/step':>9}{'memory':>8}{'maths':>7}"
    f"{'vs concat':>11}{'vs again':>10}"
)
_DEFAULT = "(default: %(default)s)"
_SWITCHES = {
    "packed": "keep weights in the form that the CPU multiplies fastest",
    "graphs": "capture steps as CUDA graphs",
    "baselines": "measure also what the engine is compared with",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `run` reads."""
    which = parser.add_argument_group("model (by default a shape with random weights)")
    which.add_argument(
        "--preset",
        choices=PRESETS,
        metavar="PRESET",
        help="by name, with random weights if it has none (default: the shape below)",
    )
    which.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="a checkpoint folder (default: none)"
    )
    for name, (default, about) in SHAPE.items():
        accepts = {"text": count_or_none, "image": several}.get(name, count)
        which.add_argument(
            f"--{name}", type=accepts, metavar="N", help=f"{about} (default: {default})"
        )
    which.add_argument(
        "--compare",
        action="store_true",
        help="16×16 positions of one code against 8×8 of four and 8×8 cells of 1 + 4, of --layers,"
        " --width and --vocab; with --checkpoint its own pictures, plain and enhanced"
        " (default: no)",
    )
    which.add_argument(
        "--enhance-width",
        type=count,
        metavar="N",
        help="with --compare: also what an enhancement adds to the 16×16, its layers so wide;"
        " minDALL-E's are 1024 (default: none)",
    )
    which.add_argument(
        "--plot", type=Path, metavar="FILE", help="with --compare: draw it there (default: nowhere)"
    )
    which.add_argument(
        "--naive",
        action="store_true",
        help="what is remembered against everything computed again, of --preset or of a model of"
        " each family (default: no)",
    )
    _add_ways(
        parser.add_argument_group("how it runs; several values are measured one after the other")
    )


def _add_ways(how: argparse._ArgumentGroup) -> None:
    for name, values, about in (
        ("--dtype", list(DTYPES), "number type of stage 2"),
        ("--quantization", ["none", "int8"], "of the transformer's weights"),
    ):
        how.add_argument(
            name,
            nargs="+",
            choices=values,
            default=values[:1],
            help=f"{about} (default: {values[0]})",
        )
    how.add_argument(
        "--batch",
        type=count,
        nargs="+",
        default=[4, 32],
        metavar="N",
        help="rows in flight (default: 4 and 32)",
    )
    how.add_argument(
        "--device", type=device, default=torch.device("cpu"), help=f"cpu, cuda, cuda:1 {_DEFAULT}"
    )
    how.add_argument("--threads", type=threads, metavar="N", help="of the CPU (default: all)")
    for name, about in _SWITCHES.items():
        how.add_argument(
            f"--{name}", action=argparse.BooleanOptionalAction, help=f"{about} (default: yes)"
        )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0. ConfigError for flags that say nothing of what is measured."""
    _check(args)
    fill(args)
    for name in _SWITCHES:
        setattr(args, name, getattr(args, name) is not False)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.compare or args.naive:
        return _compare(args) if args.compare else _naive(args)
    subject = chosen(args)
    ceilings = machine.measure(args.device, [DTYPES[name] for name in args.dtype])
    facts = machine.describe(args.device)
    print(_heading(subject, facts, ceilings))
    for name in args.dtype:
        if caveat := LoadOptions(args.device, DTYPES[name]).caveat:
            print(f"{name}: {caveat}")
    print(_COLUMNS)
    results = []
    for result in _results(args, subject, ceilings):
        print(_line(result), flush=True)
        results.append(result)
    if args.baselines:
        print(
            "concat: a cache grown by concatenation; again: everything recomputed for each code.",
            "Both in float32 without packing, timed at 5 lengths and integrated.",
            "Shares: of the bytes and operations that a step can't do without.",
            sep="\n",
        )
    print(json.dumps(_record(args, subject, facts, ceilings, results)))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what would be left out of the measurement without a word."""
    for why, names in _useless(args):
        for name in names:
            value, flag = getattr(args, name), name.replace("_", "-")
            if value is False and name in _SWITCHES:
                flag = f"no-{flag}"
            elif value is None or value is False:  # 0 is a --text
                continue
            raise ConfigError(f"--{flag}: changes nothing {why}")
    if args.naive and len(args.dtype) > 1:
        raise ConfigError("--dtype: with --naive only one")
    if args.quantization != ["none"] and (args.compare or args.naive):
        raise ConfigError("--quantization: is not measured with --compare and --naive")
    if args.plot:
        import_module("matplotlib")  # which is missed now, and not when all is measured


def _useless(args: argparse.Namespace) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Flags that say nothing of what is measured, and beside what."""
    if args.naive:
        yield "with --naive", ("compare", "checkpoint", "packed", "baselines", *SHAPE)
    if args.compare:
        yield "with --compare", ("preset", "text", "image", "baselines")
    else:
        yield "without --compare", ("plot", "enhance_width")
    if args.checkpoint:
        yield "with --checkpoint", ("preset", "enhance_width", *SHAPE)
    if args.preset:
        yield "with --preset", (*SHAPE,)


def _compare(args: argparse.Namespace) -> int:
    facts = machine.describe(args.device)
    models = compared(args)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    timings: list[comparison.Timing] = []
    for dtype in args.dtype:
        options = LoadOptions(args.device, DTYPES[dtype], graphs=args.graphs, packed=args.packed)
        for subject in models:
            timings += comparison.compare(subject.load(options), dtype, args.batch)
    presets = tuple(subject.preset for subject in models)
    print(comparison.table(timings, presets))
    if args.plot:
        comparison.plot(timings, args.plot)
    print(json.dumps({"bench": "compare", "machine": facts, **comparison.record(timings, presets)}))
    return 0


def _naive(args: argparse.Namespace) -> int:
    facts = machine.describe(args.device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), naive.HEADING, sep="\n")
    names = [args.preset] if args.preset else naive.FAMILIES
    # Not packed: both ways on the same layers, and the naive one multiplies many rows at once.
    options = LoadOptions(args.device, DTYPES[args.dtype[0]], graphs=args.graphs, packed=False)
    found = []
    for timing in naive.timings(names, options, args.batch):
        print(naive.line(timing), flush=True)
        found.append(timing)
    print(json.dumps({"bench": "naive", "machine": facts, **naive.record(found)}))
    return 0


def _results(
    args: argparse.Namespace, subject: Subject, ceilings: machine.Ceilings
) -> Iterator[Result]:
    plain_options = LoadOptions(args.device, packed=False, graphs=False)
    plain = subject.load(plain_options).stage2 if args.baselines else None
    for batch in args.batch:
        times = None
        if is_block_stack(plain):
            times = BaselineTimes(plain, subject.preset, batch)
        for dtype in args.dtype:
            for quantization in args.quantization:
                options = LoadOptions(
                    args.device,
                    DTYPES[dtype],
                    quantization,
                    graphs=args.graphs,
                    packed=args.packed,
                )
                setting = dtype if quantization == "none" else f"{dtype}+{quantization}"
                yield measure(setting, subject.load(options), batch, ceilings, times)


def _heading(subject: Subject, facts: dict[str, object], ceilings: machine.Ceilings) -> str:
    preset = subject.preset
    flops = ", ".join(f"{rate / 1e9:.0f} GFLOP/s {name}" for name, rate in ceilings.flops.items())
    return "\n".join(
        [
            f"{preset.name}: {preset.stage2.summary}, {preset.prompt_len} + {preset.num_steps}"
            f" positions, {'+'.join(map(str, preset.vocab_sizes))} codes",
            ", ".join(f"{name} {value}" for name, value in facts.items()),
            f"ceilings: {ceilings.bytes_s / 1e9:.1f} GB/s, {flops}",
        ]
    )


def _line(result: Result) -> str:
    return (
        f"{result.setting:<16}{result.batch:>5}{_ms(result.prefill_s):>9}{_ms(result.step_s):>9}"
        f"{result.codes_s:>9.0f}{result.stage2_images_s:>10.3f}{_ms(result.pixels_s):>9}"
        f"{_ms(result.rerank_s):>9}{result.images_s:>8.3f}{result.step_bytes / 1e6:>9.0f}"
        f"{result.bandwidth_share:>8.0%}{result.arithmetic_share:>7.0%}"
        f"{_times(result.times_faster(result.concatenated_s)):>11}"
        f"{_times(result.times_faster(result.recomputed_s)):>10}"
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}ms"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _record(
    args: argparse.Namespace,
    subject: Subject,
    facts: dict[str, object],
    ceilings: machine.Ceilings,
    results: list[Result],
) -> dict[str, object]:
    return {
        "bench": "engine",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["mindalle", *sys.argv[1:]]),
        "machine": facts,
        "ceilings": asdict(ceilings),
        "model": {"name": subject.preset.name, **asdict(subject.preset.stage2)},
        "packed": args.packed,
        "results": [_with_rates(result) for result in results],
    }


def _with_rates(result: Result) -> dict[str, object]:
    return {
        **asdict(result),
        "codes_s": result.codes_s,
        "stage2_images_s": result.stage2_images_s,
        "images_s": result.images_s,
        "vs_concatenated": result.times_faster(result.concatenated_s),
        "vs_recomputed": result.times_faster(result.recomputed_s),
    }
