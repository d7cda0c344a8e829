from dataclasses import dataclass
from typing import Any

import pytest

from models.configs.numbers import Count, Share, Size
from models.errors import ConfigError
from models.files.checked import checked


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    size: Size = 3
    count: Count = 0
    share: Share | None = 0.5
    is_on: bool = True
    sizes: tuple[Size, ...] = (1, 2)
    anything: Any = None


def test_missing_values_are_the_dataclass_own() -> None:
    assert checked(Shape, {"name": "a"}) == Shape("a")


def test_values_take_their_types() -> None:
    values = {"name": "1e3", "share": "1e-4", "sizes": [4], "anything": {"a": [1]}}
    assert checked(Shape, values) == Shape("1e3", share=1e-4, sizes=(4,), anything={"a": [1]})


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("name", 3, "should be a valid string, not 3"),
        ("size", 0, "should be greater than 0, not 0"),
        ("size", True, "should be a valid integer, not True"),
        ("size", "3", "should be a valid integer, not '3'"),
        ("size", 10**9, "should be less than or equal to 100000000, not 1000000000"),
        ("count", -1, "should be greater than or equal to 0, not -1"),
        ("share", "lots", "should be a valid number, not 'lots'"),
        ("is_on", "yes", "should be a valid boolean, not 'yes'"),
        ("is_on", 1, "should be a valid boolean, not 1"),
        ("sizes", 4, "should be a valid array, not 4"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(key: str, value: object, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(Shape, {"name": "a", key: value}, "top.inner", {"size": "top.size"})
    place = "top.size" if key == "size" else f"top.inner.{key}"
    assert str(caught.value) == f"{place}: {complaint}"


def test_unknown_keys_are_named_and_nothing_else() -> None:
    with pytest.raises(ConfigError, match=r"^unknown key: in\.siez, in\.5$"):
        checked(Shape, {"siez": 3, 5: 1}, "in")


def test_a_key_that_must_be_there_and_a_list_for_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"^in\.name: must be given$"):
        checked(Shape, {}, "in")
    with pytest.raises(ConfigError, match=r"^the document: must be a mapping$"):
        checked(Shape, ["name"])


def test_what_no_file_could_hold_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ConfigError, match="in: no plain values"):
        checked(Shape, {"name": endless}, "in")
