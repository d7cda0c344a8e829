"""From a job's hash in Redis to a JobView.

The field names are those that the scripts in lua/ write. Knows no connection.
"""

from __future__ import annotations

import json

from service.broker.results import metas_of
from service.jobs import Failed, Job, JobStatus, JobView, Progress


def job_view(reply: list[bytes]) -> JobView:
    """From the reply of the view script: derived values as JSON, then the hash, flat."""
    derived = json.loads(reply[0])
    names = [name.decode() for name in reply[1::2]]
    fields = dict(zip(names, reply[2::2], strict=True))
    finished_ms = _number(fields, "finished_ms")
    job = Job.from_json(fields["body"])
    return JobView(
        job=job,
        status=JobStatus(fields["state"].decode()),
        position=derived.get("position"),
        eta_s=derived.get("eta_s"),
        progress=_progress(fields, job),
        attempts=int(fields.get("attempts", 0)),
        created_ms=int(fields.get("created_ms", 0)),
        started_ms=_number(fields, "started_ms"),
        finished_ms=finished_ms,
        expires_ms=None if finished_ms is None else finished_ms + int(fields.get("ttl_ms", 0)),
        images=() if derived.get("are_images_gone") else metas_of(fields),
        size=_text(fields, "size"),
        timings_s=json.loads(fields.get("timings", b"{}")),
        prompt_truncated=fields.get("prompt_truncated") == b"1",
        error=_error(fields),
        native_size=_text(fields, "native_size") or _text(fields, "size"),
        num_drawn=_num_drawn(fields, job),
        views=tuple((name, value) for name, value in json.loads(fields.get("views", b"[]"))),
    )


def _number(fields: dict[str, bytes], name: str) -> int | None:
    return int(fields[name]) if name in fields else None


def _text(fields: dict[str, bytes], name: str) -> str | None:
    return fields[name].decode() if name in fields else None


def _num_drawn(fields: dict[str, bytes], job: Job) -> int:
    return int(fields.get("num_drawn", job.recipe.num_candidates))


def _progress(fields: dict[str, bytes], job: Job) -> Progress:
    drawn = _num_drawn(fields, job) * job.codes_per_candidate
    if "num_drawn" in fields:
        return Progress(drawn, drawn, "done")
    total = int(fields.get("codes_total", drawn))
    if fields["state"] == b"succeeded":
        return Progress(total, total, "done")
    stage = "waiting" if fields["state"] == b"queued" else _text(fields, "stage") or "prefill"
    return Progress(int(fields.get("codes_done", b"0")), total, stage)


def _error(fields: dict[str, bytes]) -> Failed | None:
    if "error_code" not in fields:
        return None
    return Failed(fields["error_code"].decode(), fields.get("error_message", b"").decode())
