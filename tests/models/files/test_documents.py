from pathlib import Path

import pytest

from models.errors import ConfigError
from models.files.documents import json_in, yaml_in


@pytest.mark.parametrize("text", ["day: 2024-13-01", "is: !!bool maybe", "[" * 5000])
def test_yaml_with_values_that_can_not_be_is_refused_by_its_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: not YAML"):
        yaml_in(tmp_path / "config.yaml")


def test_yaml_whose_aliases_stand_for_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    """A few lines of which each says the one before nine times."""
    lines = ["a0: &a0 [x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"config\.yaml: its aliases stand for more than 100000"):
        yaml_in(tmp_path / "config.yaml")


def test_aliases_as_people_use_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: &a {x: 1}\nb: *a\nc: &c [*c]\n")
    read = yaml_in(tmp_path / "config.yaml")
    assert read["b"] == {"x": 1}
    assert read["c"][0] is read["c"]


def test_a_key_that_is_there_twice_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stage2:\n  n_layers: 8\n  n_heads: 4\n  n_layers: 6\n")
    with pytest.raises(ConfigError, match=r"not YAML: n_layers is there twice.*line 4"):
        yaml_in(tmp_path / "config.yaml")


def test_a_key_that_a_merge_brings_may_be_said_again(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\n")
    assert yaml_in(tmp_path / "config.yaml")["b"] == {"x": 3, "y": 2}


def test_json_that_is_nested_too_deep_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"manifest\.json is not JSON"):
        json_in(tmp_path / "manifest.json")
