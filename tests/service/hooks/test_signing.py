from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from service.hooks.signing import Secrets, signed_headers
from tests.service.receiver import OLD_SECRET, OTHER_SECRET, SECRET

BODY = '{"type":"job.succeeded","data":{"prompt":"ein rotes Häuschen"}}'


def test_the_librarys_verifier_takes_each_of_the_signatures() -> None:
    headers = signed_headers((SECRET, OLD_SECRET), "msg_1", datetime.now(UTC), BODY)
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(BODY.encode(), headers)["type"] == "job.succeeded"
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(BODY, headers)
    for changes in ({"webhook-id": "msg_2"}, {"webhook-timestamp": "1"}):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(BODY, headers | changes)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + " ", headers)


def test_the_clock_of_another_zone_signs_the_same() -> None:
    now = datetime.now(UTC)
    there = now.astimezone(tz=datetime.now().astimezone().tzinfo) + timedelta(0)
    assert signed_headers((SECRET,), "m", now, BODY) == signed_headers((SECRET,), "m", there, BODY)


def test_a_key_signs_with_its_own_secrets_or_with_those_of_all() -> None:
    secrets = Secrets.read(f"{SECRET}, shop={OTHER_SECRET},shop = {OLD_SECRET}")
    assert secrets.of(None) == secrets.of("other") == (SECRET,)
    assert secrets.of("shop") == (OTHER_SECRET, OLD_SECRET)
    assert secrets.names() == {"shop"}
    assert Secrets.read(f"shop={SECRET}").of(None) == ()
    assert not Secrets.read(" , ")
    assert SECRET not in repr(secrets)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("whsec_not base64!", "is not base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "has 5 bytes"),
        ("whsec_" + base64.b64encode(b"l" * 65).decode(), "has 65 bytes"),
        (f"{SECRET},shop=", "secret 2 does not begin"),
    ],
)
def test_a_wrong_secret_is_told_by_its_place_and_never_shown(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        Secrets.read(text)
    assert text not in str(caught.value)
