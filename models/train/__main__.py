"""`python -m models.train COMMAND …`: the training commands under one name, errors in one line."""

from __future__ import annotations

import sys
from importlib import import_module

from models.errors import CheckpointError, is_out_of_memory
from models.train.loop.learner import NotFiniteError

COMMANDS = ("stage1", "stage2", "enhance", "pixels", "bpe", "clip", "words", "codes", "ship")


def main(argv: list[str]) -> int:
    """Run one command; 1 where what it was given can't be used, 2 for a command that isn't one."""
    if not argv or argv[0] not in COMMANDS:
        is_asked = argv[:1] in (["--help"], ["-h"])
        usage = f"usage: python -m models.train {{{','.join(COMMANDS)}}} …"
        print(usage, file=sys.stdout if is_asked else sys.stderr)
        return 0 if is_asked else 2
    name, *rest = argv
    try:
        import_module(f"models.train.{name}").main(rest)
    except ModuleNotFoundError as error:
        packages = "pip install 'mindalle-serve[worker,train]'"
        print(f"{name}: {error.name} is not installed: {packages}", file=sys.stderr)
        return 1
    except (CheckpointError, NotFiniteError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
