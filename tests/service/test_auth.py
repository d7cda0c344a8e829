from __future__ import annotations

import pytest

from service.api.http.auth import ANONYMOUS, KeyRing
from service.config.api_keys import ApiKey
from service.errors import Unauthenticated

KEYS = (ApiKey.parse("alice:s3cret-word:3"), ApiKey.parse("plain-key"))


def test_a_known_key_names_its_caller_and_weight() -> None:
    ring = KeyRing(KEYS, needs_key=True)
    alice = ring.identify("s3cret-word")
    assert (alice.key_id, alice.weight) == (KEYS[0].key_id, 3.0)
    assert ring.identify("plain-key").weight == 1.0
    assert "s3cret-word" not in alice.key_id


@pytest.mark.parametrize("token", [None, "", "s3cret-wor", "alice", "s3cret-word ", "é\udce9"])
def test_no_other_key_is_let_in(token: str | None) -> None:
    with pytest.raises(Unauthenticated):
        KeyRing(KEYS, needs_key=True).identify(token)


def test_a_server_that_requires_keys_and_has_none_lets_nobody_in() -> None:
    with pytest.raises(Unauthenticated):
        KeyRing((), needs_key=True).identify("")


@pytest.mark.parametrize("token", [None, "unused"])
def test_where_no_key_is_needed_any_will_do(token: str | None) -> None:
    assert KeyRing(KEYS, needs_key=False).identify(token) == ANONYMOUS


def test_where_no_key_is_needed_a_known_one_still_counts() -> None:
    assert KeyRing(KEYS, needs_key=False).identify("plain-key").key_id == KEYS[1].key_id
