"""The prompts that a contact sheet of the emoji model shows: plain ones, then combinations."""

from __future__ import annotations

from pathlib import Path


def sheet_prompts() -> list[str]:
    """One a line in prompts.txt."""
    return Path(__file__).with_name("prompts.txt").read_text("utf-8").splitlines()
