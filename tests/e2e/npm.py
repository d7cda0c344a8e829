"""Packages from npm for a page under test: fetched at their pinned versions, bundled by esbuild.

Knows no browser. What is fetched is kept in pytest's cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

_SCRIPT = "page.js"


def bundled(source: Path, cache: pytest.Cache) -> bytes:
    """The script of the folder `source` with all that it imports, for browsers."""
    folder = fetched(source, cache)
    command = [str(folder / "node_modules/.bin/esbuild"), _SCRIPT, "--bundle", "--format=iife"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=50)
    return done.stdout


def fetched(source: Path, cache: pytest.Cache) -> Path:
    """A copy of the folder `source` beside the packages that it names."""
    folder: Path = cache.mkdir(source.name)
    with (folder / "lock").open("w") as lock:  # other files' tests run in other processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in source.iterdir():
            _copy(path, folder / path.name)
        _fetch(folder)
    return folder


def _copy(path: Path, to: Path) -> None:
    """Unless it is there: a file that is written anew is empty for a moment."""
    if not to.exists() or to.read_bytes() != path.read_bytes():
        shutil.copyfile(path, to)


def _fetch(folder: Path) -> None:
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "fetched"
    if stamp.exists() and stamp.read_text() == lock:
        return
    npm = shutil.which("npm")
    assert npm, "npm is needed for this test: sh deploy/install-test-programs"
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-timeout=20000"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stamp.write_text(lock)
