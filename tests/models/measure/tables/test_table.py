from __future__ import annotations

from models.measure.tables.table import Table, mean, over_seeds


def test_seeds_become_mean_and_deviation_and_json_keeps_all_numbers() -> None:
    merged = over_seeds([{"a": 1.0, "b": None}, {"a": 3.0, "b": 2.0}])
    assert merged == {"a": [1.0, 3.0], "b": None}
    table = Table("T", ("model", "a", "b"), (("x|y", merged["a"], merged["b"]),), "A note.")
    assert "| x\\|y | 2 ± 1.4 | – |" in table.markdown()
    assert table.markdown().endswith("\n\nA note.\n")
    assert table.record()["rows"] == [{"model": "x|y", "a": [1.0, 3.0], "b": None}]
    assert mean(merged["a"]) == 2.0
    assert mean("words") is mean(None) is None
