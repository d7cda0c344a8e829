"""What stands before the API lets through what the API itself takes."""

from __future__ import annotations

from service.config.groups import ApiSettings
from tests.deploy.chart import of_kind, rendered


def test_the_fleets_ingress_waits_for_the_latest_answer_and_takes_the_largest_picture() -> None:
    (ingress,) = of_kind(rendered("gpu-fleet"), "Ingress").values()
    prefix, api = "nginx.ingress.kubernetes.io/proxy-", ApiSettings()
    said = ingress["metadata"]["annotations"]

    assert int(said[f"{prefix}read-timeout"]) > api.max_deadline_s
    assert int(said[f"{prefix}body-size"].removesuffix("m")) * 2**20 > api.max_upload_bytes
