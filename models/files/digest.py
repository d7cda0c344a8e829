"""What tells a model's weights from others, without reading them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.configs.preset import Preset
from models.files.shards import MANIFEST_NAME
from models.lookalikes import visible


def weights_digest(preset: Preset, folder: Path | None, *, with_times: bool = False) -> str:
    """Of the manifest, which holds the hash of every file; else of names and sizes.

    A model that was trained again may have those of the one before it. `with_times` these differ,
    but so do copies of one model that lie on several machines.
    """
    if folder is None:
        return hashlib.sha256(repr(preset).encode()).hexdigest()
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        digest = hashlib.sha256(manifest.read_bytes())
        if own := preset.enhancement:  # its folder may have been put there later
            digest.update((folder / own.folder / MANIFEST_NAME).read_bytes())
        return digest.hexdigest()
    files = [path for path in visible(folder.rglob("*"), folder) if path.is_file()]
    listing = "\n".join(_line(path, folder, with_times) for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _line(path: Path, folder: Path, with_times: bool) -> str:
    facts = path.stat()
    time = f" {facts.st_mtime_ns}" if with_times else ""
    return f"{path.relative_to(folder)} {facts.st_size}{time}"
