"""NVIDIA's AIPerf counts what our API counts: a load generator that shares nothing with ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack, serving
from tests.foreign.environments import programs

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(1800)]

NUM_REQUESTS = 40
PROMPTS = [f"thing {number}" for number in range(9)] + ["poison"]
SETTINGS = {"MINDALLE_TESTING__POISON_PROMPT": "poison", "MINDALLE_QUEUE__MAX_ATTEMPTS": "2"}
# Words, all unknown: AIPerf wants a tokenizer to count prompts' tokens, and would fetch its own.
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"},
}
TOKENIZER_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "?"}
ROUTE = 'method="POST",route="/v1/images/generations"'


def profiled(stack: Stack, folder: Path) -> dict[str, Any]:
    """AIPerf's report on so many requests."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"text": prompt}) for prompt in PROMPTS))
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    command: list[str | Path] = [
        programs("aiperf==0.13.0") / "aiperf", "profile",
        "--model", "tiny", "--endpoint-type", "image_generation", "--url", stack.url,
        "--input-file", prompts, "--custom-dataset-type", "single_turn",
        "--request-count", str(NUM_REQUESTS), "--concurrency", "4", "--random-seed", "1",
        "--extra-inputs", "num_candidates:2", "--tokenizer", tokenizer, "--ui", "none",
        "--no-gpu-telemetry", "--no-server-metrics", "--output-artifact-dir", folder / "aiperf",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    reports = list((folder / "aiperf").rglob("profile_export_aiperf.json"))
    assert reports, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(reports[0].read_text())
    return report


def counted(stack: Stack, code: int) -> float:
    """Answers of that status, by our own count."""
    return stack.metric(f'mindalle_http_requests_total{{code="{code}",{ROUTE}}}')


def test_aiperf_counts_what_we_count(tmp_path: Path) -> None:
    with serving(tmp_path, settings=SETTINGS) as stack:
        report = profiled(stack, tmp_path)
        good, bad = counted(stack, 200), counted(stack, 500)
    assert good + bad == NUM_REQUESTS
    assert bad == NUM_REQUESTS / len(PROMPTS)
    assert report["request_count"]["avg"] == good
    assert report["error_request_count"]["avg"] == bad
