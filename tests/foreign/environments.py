"""Other people's programs, each in an environment of its own: what they need must not touch ours.

They are made once, in FOREIGN_ENVIRONMENTS or the user's cache. One made `beside` us finds torch
and our models behind its own packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FOLDER = Path(os.environ.get("FOREIGN_ENVIRONMENTS", Path.home() / ".cache/mindalle-foreign"))
_INSTALL_S = 1200


def programs(requirement: str, *, is_beside_us: bool = False) -> Path:
    """The folder of the programs of an environment that holds a requirement like `mosec==0.9.8`.

    Raises:
        subprocess.CalledProcessError: it can't be installed; pip has said why.
    """
    folder = _FOLDER / requirement.replace("[", "-").replace("]", "")
    is_whole = folder / "is-whole"
    if not is_whole.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=120)
        install = [str(folder / "bin/pip"), "install", "--quiet", requirement]
        subprocess.run(install, check=True, timeout=_INSTALL_S)
        if is_beside_us:
            _let_find_us(folder)
        is_whole.touch()
    return folder / "bin"


def _let_find_us(folder: Path) -> None:
    (packages,) = folder.glob("lib/python*/site-packages")
    paths = [sysconfig.get_path("purelib"), str(ROOT)]
    (packages / "beside_us.pth").write_text("\n".join(paths))
