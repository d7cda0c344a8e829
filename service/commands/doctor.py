"""`mindalle doctor`: what is missing for a start, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from service import settings
from service.doctor.checks import examine
from service.doctor.finding import Finding

_SIGNS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM", "skipped": "skipped"}


def add_arguments(parser: ArgumentParser) -> None:
    """For people or for machines."""
    parser.add_argument("--json", action="store_true", help="one JSON object per finding")


def run(args: Namespace) -> int:
    """Print what was found; 1 when something must be done before a start."""
    findings = asyncio.run(examine(settings.load()))
    for finding in findings:
        line = json.dumps(asdict(finding)) if args.json else _for_people(finding)
        sys.stdout.write(line + "\n")
    return int(any(finding.verdict == "problem" for finding in findings))


def _for_people(finding: Finding) -> str:
    line = f"{_SIGNS[finding.verdict]}  {finding.about:<13} {finding.found}"
    return f"{line}\n{'':24}→ {finding.advice}" if finding.advice else line
