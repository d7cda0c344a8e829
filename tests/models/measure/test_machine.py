import torch

from models.measure import machine

_CPU = torch.device("cpu")


def test_a_machine_has_names_and_numbers() -> None:
    facts = machine.describe(_CPU)
    assert facts["threads"] == torch.get_num_threads()
    assert facts["torch"] == torch.__version__
    assert facts["device"]


def test_ceilings_are_those_of_some_computer() -> None:
    ceilings = machine.measure(_CPU, [torch.float32])
    # From a slow board to a whole node: what is outside is a mistake in the arithmetic.
    assert 1e8 < ceilings.bytes_s < 1e14
    assert ceilings.bytes_s == max(ceilings.read_bytes_s, ceilings.copy_bytes_s)
    assert 1e8 < ceilings.flops["float32"] < 1e15


def test_work_is_run_once_more_than_it_is_timed() -> None:
    runs: list[int] = []
    assert machine.best_of(3, _CPU, lambda: runs.append(1)) >= 0
    assert len(runs) == 4
