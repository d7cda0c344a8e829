"""`mindalle completion bash|zsh|fish`: a script that completes commands, flags and their values.

Made once, from what the commands themselves declare, and kept in a file: a shell that asked
`mindalle` at each key would wait for torch.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from service.commands import shells

_HOWTO = """Keep the script where your shell looks for it:
  mindalle completion bash > ~/.local/share/bash-completion/completions/mindalle
  mindalle completion zsh  > _mindalle        in a folder of $fpath, before compinit
  mindalle completion fish > ~/.config/fish/completions/mindalle.fish"""


def add_arguments(parser: ArgumentParser) -> None:
    """For which shell."""
    parser.epilog = _HOWTO
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=sorted(shells.SCRIPTS), help="yours: echo $SHELL")


def run(args: Namespace) -> None:
    """Print the script."""
    sys.stdout.write(shells.SCRIPTS[args.shell](shells.commands()))
