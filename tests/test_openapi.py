"""The OpenAPI document in the repository is the one that the server shows.

Rewrite it with `python -m tests.test_openapi` and review the difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

from service.api.app import create_app
from service.settings import Settings

SNAPSHOT = Path(__file__).with_name("openapi.json")


def _document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def _text() -> str:
    return json.dumps(_document(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def test_the_document_is_the_one_in_the_repository() -> None:
    assert SNAPSHOT.read_text(encoding="utf-8") == _text(), "see the docstring of this file"


def test_every_example_obeys_its_schema() -> None:
    document = _document()
    num_examples = 0
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {}).get("application/json", {})
                if "example" in content:
                    schema = content["schema"] | {"components": document["components"]}
                    jsonschema_rs.validate(schema, content["example"])
                    num_examples += 1
    assert num_examples > 20


def test_every_operation_documents_errors_and_the_request_id() -> None:
    for path, operations in _document()["paths"].items():
        for operation in operations.values():
            assert "500" in operation["responses"], path
            for response in operation["responses"].values():
                assert "x-request-id" in response["headers"], path


def test_what_webhooks_receivers_get_is_documented() -> None:
    document = _document()
    message = document["webhooks"]["job"]["post"]
    body = message["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/WebhookMessage"}
    assert [one["name"] for one in message["parameters"]] == [
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ]
    assert "ValidationError" not in json.dumps(document)


if __name__ == "__main__":
    SNAPSHOT.write_text(_text(), encoding="utf-8")
