"""`mindalle worker`: the process that holds the model."""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from typing import NoReturn

from models.errors import CheckpointError
from service import logs
from service.cli import CommandError
from service.commands import flags
from service.worker import process as worker_process

_FLAGS = (*flags.METRICS, *flags.MODEL, *flags.WORKER, *flags.REDIS)
_SWITCH_S = 0.0005  # the stepping thread waits at most so long for the event loop to let it on


def add_arguments(parser: ArgumentParser) -> None:
    """Flags that win over the environment."""
    flags.add(parser, *_FLAGS)


def run(args: Namespace) -> NoReturn:
    """Work until a signal."""
    loaded = flags.load(args, *_FLAGS)
    logs.configure("worker", level=loaded.log_level, style=loaded.log_format)
    sys.setswitchinterval(_SWITCH_S)
    try:
        status = worker_process.run(loaded)
    except CheckpointError as error:  # status 2 tells a supervisor that a restart won't help
        raise CommandError(str(error), 2) from None
    logging.shutdown()
    os._exit(status)  # all is closed; taking torch apart would take seconds of a busy machine
