from __future__ import annotations

from pathlib import Path

import pytest

from service.config.hosted import read_hosted
from service.errors import StartRefused
from service.settings import Settings, load


def test_presets_with_and_without_a_folder() -> None:
    text = " emoji, mindalle-1.3b = /weights/1.3b ,,tiny"
    assert read_hosted(text) == {
        "emoji": None, "mindalle-1.3b": Path("/weights/1.3b"), "tiny": None,
    }  # fmt: skip
    assert list(read_hosted(text)) == ["emoji", "mindalle-1.3b", "tiny"]
    assert read_hosted("") == {}


@pytest.mark.parametrize("text", ["=/weights", "emoji=", "emoji,emoji=/w", "a=~nobody-at-all/w"])
def test_what_is_none_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_WORKER__MODELS", text)
    with pytest.raises(StartRefused, match="MINDALLE_WORKER__MODELS"):
        load()


def test_each_model_has_the_workers_settings_and_its_own_folder() -> None:
    settings = Settings.model_validate(
        {"model": "tiny", "worker": {"models": "emoji=/w,tiny", "rows": 4}}
    )
    folders = {name: own.checkpoint for name, own in settings.hosted.items()}
    assert folders == {"emoji": Path("/w"), "tiny": None}
    assert {own.rows for own in settings.hosted.values()} == {4}
    assert settings.first_hosted == "tiny"


def test_without_a_list_it_is_the_default_model_alone() -> None:
    settings = Settings.model_validate({"model": "tiny", "worker": {"checkpoint": "/w"}})
    assert settings.hosted == {"tiny": settings.worker}
    assert settings.first_hosted == "tiny"


def test_one_folder_can_not_be_of_several_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINDALLE_WORKER__MODELS", "tiny,emoji")
    monkeypatch.setenv("MINDALLE_WORKER__CHECKPOINT", "/w")
    with pytest.raises(StartRefused, match="MINDALLE_WORKER__CHECKPOINT is of one model"):
        load()
