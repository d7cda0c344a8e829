from pathlib import Path

import pytest

from models.errors import ConfigError
from models.files.documents import json_in, yaml_in


@pytest.mark.parametrize("text", ["day: 2024-13-01", "is: !!bool maybe", "[" * 5000])
def test_yaml_with_values_that_can_not_be_is_refused_by_its_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: not YAML"):
        yaml_in(tmp_path / "config.yaml")


def test_json_that_is_nested_too_deep_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"manifest\.json is not JSON"):
        json_in(tmp_path / "manifest.json")
