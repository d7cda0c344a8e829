"""`mindalle worker` of the release before parts: its scripts, sent by today's verbs.

Run as `python -m tests.chaos.old_worker worker`. It writes no webhooks' messages: it knows none.
"""

from __future__ import annotations

from unittest.mock import patch

from service.broker.scripts import Scripts
from service.cli import main
from tests.service.scripts_before_parts import source_before_parts

_source_of_today = Scripts._source


def _source(scripts: Scripts, name: str) -> tuple[str, str]:
    return source_before_parts(name) or _source_of_today(scripts, name)


if __name__ == "__main__":
    with patch.object(Scripts, "_source", _source):
        raise SystemExit(main())
