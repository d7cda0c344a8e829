"""Containers of built images without a container engine: buildah's files, the kernel's namespaces.

As the compose file and the chart run them: the user of the image, a root that nobody can write to,
/tmp in memory, no capabilities, nothing gained by setuid; process 1 of its own. All containers of a
pod share one network, which has nothing but its loopback. Needs root.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENTER = """
root="$1" user="$2"; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all env -i "$@"
"""


def output(*command: str) -> str:
    """What a command prints; fails with what it complains of."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its files, mounted, and its config as Docker writes it."""

    root: str
    config: Mapping[str, Any]  # Any: what an image's JSON holds

    @property
    def command(self) -> list[str]:
        """What it runs when nobody says otherwise."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @property
    def health_check(self) -> list[str]:
        """The command that says whether it is well."""
        kind, *command = map(str, self.config["Healthcheck"]["Test"])
        assert kind == "CMD"
        return command


@contextmanager
def mounted(name: str) -> Iterator[Image]:
    """An image of buildah's store, while its files are at hand."""
    config = json.loads(output("buildah", "inspect", "--type", "image", name))["Docker"]["config"]
    container = output("buildah", "from", "--pull-never", name)
    try:
        yield Image(output("buildah", "mount", container), config)
    finally:
        output("buildah", "rm", container)


class Pod:
    """A network for containers."""

    def __init__(self) -> None:
        alone = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo && exec sleep infinity"]
        self._holder = subprocess.Popen(alone, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline(), "no network of its own: apt-get install iproute2"

    def inside(self, *command: str) -> list[str]:
        """The command line that runs another on this network."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]

    def close(self) -> None:
        """End it; containers are to be stopped before."""
        self._holder.kill()
        self._holder.communicate()


class Container:
    """One that runs what its image says, with more environment."""

    def __init__(self, image: Image, pod: Pod, environment: Mapping[str, str], log: Path) -> None:
        self._image = image
        self._pod = pod
        self._variables = [*image.config["Env"], *(f"{k}={v}" for k, v in environment.items())]
        self.log = log
        with log.open("wb") as file:
            command = self._command(image.command)
            self._process = subprocess.Popen(command, stdout=file, stderr=file)

    def _command(self, command: Sequence[str]) -> list[str]:
        user = self._image.config["User"]
        enter = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", _ENTER, "sh"]
        return self._pod.inside(*enter, self._image.root, user, *self._variables, *command)

    def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Another command of its image, beside it: same user, root and network."""
        return subprocess.run(self._command(command), capture_output=True, check=False, timeout=300)

    @property
    def status(self) -> Mapping[str, str]:
        """What the kernel says of its process 1."""
        text = Path(f"/proc/{self._first}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines())

    @property
    def _first(self) -> int:
        shell = self._process.pid
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text())

    def stop(self) -> int:
        """Ask it to end, as engines do; gives its exit status."""
        first = self._first
        subprocess.run(["kill", f"-{self._image.config['StopSignal']}", str(first)], check=True)
        return self._process.wait(timeout=120)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            os.kill(self._first, signal.SIGKILL)  # with process 1 all others go
            self._process.wait()
