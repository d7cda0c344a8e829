"""`mindalle pull PRESET|clip`: released weights, fetched, checked and converted.

Shows the licence and asks, and says how to serve the model; what is fetched, and how, is told by
`models.pull`.
"""

from __future__ import annotations

import re
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

import httpx

import service
from models.configs.preset import Preset
from models.errors import DownloadError
from models.presets.register import get_preset
from models.pull.checkpoint import Fetcher, Sources, Wanted, place, pull
from models.upstream.releases import CLIP, Checksum
from service import settings
from service.cli import CommandError
from service.config.mirrors import read_mirrors
from service.config.paths import expanded
from service.settings import Settings

_CLIP = "clip"
_SHA256 = re.compile("[0-9a-fA-F]{64}")
# No proxy knows this machine, whatever the environment says.
_HERE = ("all://127.0.0.1", "all://localhost", "all://[::1]")


def add_arguments(parser: ArgumentParser) -> None:
    """Which model, from where, to where."""
    parser.add_argument(
        "preset", metavar="PRESET", help="whose weights, or clip: those that rank pictures"
    )
    parser.add_argument(
        "--from",
        dest="archive",
        metavar="ADDRESS|FILE",
        help="an archive of the checkpoint's folder (default: the official one)",
    )
    parser.add_argument(
        "--sha256",
        type=_digest,
        metavar="DIGEST",
        help="of the archive of --from (default: it must be the official one)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="DIR",
        help="new folder (default: models/PRESET in MINDALLE_DATA_DIR)",
    )
    parser.add_argument(
        "--no-ranker", action="store_true", help="without the weights that rank candidates"
    )
    parser.add_argument(
        "--accept-licence", action="store_true", help="accept the licence without being asked"
    )


def _digest(text: str) -> Checksum:
    if not _SHA256.fullmatch(text):
        raise ArgumentTypeError("must be 64 hexadecimal digits")
    return Checksum("sha256", text.lower())


def run(args: Namespace) -> None:
    """Ask, fetch, convert, and say how to go on."""
    loaded = settings.load()
    sources = _sources(args, loaded)
    with _client(loaded.pull.timeout_s) as http:
        try:
            if args.preset == _CLIP:
                _pull_clip(args, loaded, sources, Fetcher(http))
            else:
                _pull_preset(args, loaded, sources, Fetcher(http))
        except DownloadError as error:
            raise CommandError(str(error)) from None


def _sources(args: Namespace, loaded: Settings) -> Sources:
    archive = args.archive or ""
    if args.sha256 and not archive:
        raise CommandError("--sha256 is the digest of what --from names; give that, too", 2)
    if archive and args.preset == _CLIP:
        raise CommandError("clip is one file, not an archive: MINDALLE_PULL__MIRRORS is asked", 2)
    if args.no_ranker and args.preset == _CLIP:
        raise CommandError("--no-ranker: clip is what ranks; leave one of the two out", 2)
    if archive and "://" not in archive:
        archive = str(expanded(Path(archive)))
    return Sources(archive, args.sha256, read_mirrors(loaded.pull.mirrors))


def _client(timeout_s: float) -> httpx.Client:
    agent = {"user-agent": f"mindalle/{service.__version__}"}
    mounts = {place: httpx.HTTPTransport() for place in _HERE}
    try:
        return httpx.Client(headers=agent, timeout=timeout_s, mounts=mounts)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise CommandError(f"the proxy of the environment can't be used: {error}", 2) from None


def _pull_preset(args: Namespace, loaded: Settings, sources: Sources, fetcher: Fetcher) -> None:
    preset = get_preset(args.preset)
    wanted = Wanted.of(preset, ranked=not args.no_ranker)
    folder: Path = args.out or _models(loaded) / preset.name
    if not (folder.is_dir() and any(folder.iterdir())):
        _ask(_terms(preset, wanted), is_accepted=args.accept_licence)
    pull(wanted, folder, sources, fetcher, _say)
    where = shlex.quote(str(folder))
    _say(f"serve it:\n  mindalle serve --model {preset.name} --checkpoint {where}")


def _pull_clip(args: Namespace, loaded: Settings, sources: Sources, fetcher: Fetcher) -> None:
    _ask(f"{CLIP.about}: {CLIP.terms}", is_accepted=args.accept_licence)
    path = place(CLIP, args.out or _models(loaded), sources, fetcher)
    _say(f"{path}\nbelow an official checkpoint's folder, as {CLIP.file.place}, it ranks pictures")


def _models(loaded: Settings) -> Path:
    return expanded(loaded.data_dir).absolute() / "models"


def _terms(preset: Preset, wanted: Wanted) -> str:
    """What the person should know before anything is fetched."""
    release, ranker = wanted.release, wanted.ranker
    lines = [f"{preset.name}: {preset.description}"]
    if preset.licence == "unknown":
        lines.append("licence of the weights: none is known here; read what their authors say")
    else:
        lines.append(f"licence of the weights: {preset.licence}")
    lines.append(f"  {release.terms}" if release.terms else "  that of whoever made the archive")
    if ranker:
        lines.append(f"with them, to rank pictures: {ranker.about}\n  {ranker.terms}")
    return "\n".join(lines)


def _ask(terms: str, *, is_accepted: bool) -> None:
    """CommandError unless the person at the terminal says yes, or has said so."""
    _say(terms)
    if is_accepted:
        return
    if not sys.stdin.isatty():
        raise CommandError("nobody is here to accept the licence: --accept-licence does", 2)
    sys.stdout.write("accept and fetch? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("not accepted; nothing was fetched")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
