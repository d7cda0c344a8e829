"""A GPU replays what the loop has recorded; what that asks of the loop is checked on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from models.drawing import cuda_graphs
from models.drawing.candidates import draw_all
from models.drawing.cuda_graphs import Graphs
from models.drawing.generate import Batch, Runner
from models.drawing.sampling import RowParams
from models.pipeline import LoadOptions, Pipeline, load
from tests.models.conftest import PROMPTS

_PARAMS = [
    RowParams(seed=5, candidate=i, top_k=None if i % 2 else 2 + i, top_p=0.9 if i % 3 else None)
    for i in range(6)
]


class Recorder:
    """Does again what it was given first under each key, as a graph does."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, Callable[[], None]] = {}

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        self.kept.setdefault(key, work)()


def run_thrice(_key: Hashable, work: Callable[[], None]) -> None:
    """As a step that is captured: warmed up before it counts."""
    for _ in range(3):
        work()


@pytest.mark.parametrize(
    "make_runner", [lambda: Recorder().run, lambda: run_thrice], ids=["replayed", "warmed up"]
)
def test_steps_may_be_replayed_and_repeated(
    every_prior: Pipeline, make_runner: Callable[[], Runner]
) -> None:
    stage2, shapes = every_prior.stage2, every_prior.batch(4).shapes
    replayed, plain = Batch(stage2, 4, shapes, make_runner()), Batch(stage2, 4, shapes)
    for prompt in PROMPTS[every_prior.preset.prompt_kind]:
        prefix = every_prior.prefix(every_prior.encode(prompt))
        # The second prompt's rows stand where the first one's stood.
        found, wanted = (draw_all(batch, prefix, _PARAMS).codes for batch in (replayed, plain))
        assert torch.equal(found, wanted)


def test_filters_of_a_kind_share_a_key(tiny: Pipeline) -> None:
    recorder = Recorder()
    batch = Batch(tiny.stage2, 1, run=recorder.run)
    prefix = tiny.prefix(tiny.encode("a heart"))

    def num_keys(**filters: float) -> int:
        draw_all(batch, prefix, [RowParams(seed=1, **filters)])  # type: ignore[arg-type]  # mypy can't see which field it is
        return len(recorder.kept)

    assert num_keys() == 1
    assert num_keys(temperature=0.5) == 1
    assert num_keys(top_k=17) == 2
    assert num_keys(top_k=32, temperature=2.0) == 2
    assert num_keys(top_k=16) == 3
    assert num_keys(top_p=0.9) == 4
    assert num_keys(top_p=0.1) == 4


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def on_gpu(request: pytest.FixtureRequest) -> Pipeline:
    return load("tiny", options=LoadOptions(device=torch.device("cuda"), dtype=request.param))


@pytest.mark.gpu
def test_replayed_steps_draw_what_launched_steps_draw(on_gpu: Pipeline) -> None:
    prefix = on_gpu.prefix(on_gpu.encode("a heart"))
    shapes = on_gpu.batch(4).shapes
    graphs = Graphs(on_gpu.options.device)
    graphed, plain = (
        Batch(on_gpu.stage2, 4, shapes, graphs.run),
        Batch(on_gpu.stage2, 4, shapes),
    )
    # Six candidates on four rows: rows join half-way and several shapes are captured.
    for params in (_PARAMS, _PARAMS[::-1]):
        assert torch.equal(
            draw_all(graphed, prefix, params).codes, draw_all(plain, prefix, params).codes
        )


@pytest.mark.gpu
def test_a_gpu_row_draws_what_it_draws_alone(on_gpu: Pipeline) -> None:
    prefix = on_gpu.prefix(on_gpu.encode("a heart"))
    together = draw_all(on_gpu.batch(4), prefix, _PARAMS).codes
    for params, row in zip(_PARAMS, together, strict=True):
        assert torch.equal(draw_all(on_gpu.batch(4), prefix, [params]).codes[0], row)


@pytest.mark.gpu
def test_streams_are_the_cpus(on_gpu: Pipeline, tiny: Pipeline) -> None:
    """The first code follows one prefill: only a tie within the tolerance could part them."""
    there = on_gpu.batch(6)
    here = tiny.batch(6)
    there.admit(on_gpu.prefix(on_gpu.encode("a heart")), _PARAMS)
    here.admit(tiny.prefix(tiny.encode("a heart")), _PARAMS)
    rows = list(range(6))
    if on_gpu.options.dtype == torch.float32:
        assert torch.equal(there.peek(rows)[0].cpu(), here.peek(rows)[0])
    else:
        assert there.peek(rows)[0].shape == here.peek(rows)[0].shape


@pytest.mark.gpu
def test_all_captures_are_on_one_stream_that_nobody_else_gets() -> None:
    device, numbers = torch.device("cuda"), torch.zeros(1, device="cuda")
    streams: set[int] = set()

    def work() -> None:
        streams.add(torch.cuda.current_stream(device).cuda_stream)
        numbers.fill_(1)

    of_pictures = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch ships no types
    for key in range(20):  # of two models: more than the streams that torch has
        Graphs(device).run(key, work)
        Graphs(device).run(key, work)
    assert len(streams) == 1
    assert of_pictures.cuda_stream not in streams


@pytest.mark.gpu
def test_kinds_of_steps_share_their_memory() -> None:
    graphs, wide = Graphs(torch.device("cuda")), torch.zeros(2**22, device="cuda")

    def work() -> None:
        wide.copy_(wide.exp().sin())

    graphs.run("first", work)
    before = torch.cuda.memory_reserved()
    for key in range(8):
        graphs.run(key, work)
    assert torch.cuda.memory_reserved() <= before


@pytest.mark.gpu
def test_two_threads_may_capture_at_once() -> None:
    def drawn(number: int) -> float:
        graphs, numbers = Graphs(torch.device("cuda")), torch.zeros(1, device="cuda")

        def work() -> None:
            numbers.copy_(torch.full_like(numbers, number))

        for key in range(20):
            graphs.run(key, work)
        return float(numbers)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(drawn, (1, 2))) == [1, 2]


@pytest.mark.gpu
def test_no_more_graphs_are_kept_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "_MOST", 2)
    graphs, numbers = Graphs(torch.device("cuda")), torch.zeros(1, device="cuda")
    captured: list[int] = []

    def use(key: int) -> None:
        def work() -> None:
            captured.append(key)
            numbers.fill_(key)

        graphs.run(key, work)
        assert float(numbers) == key

    for key in (1, 2, 1, 3, 1, 2):
        use(key)
    assert list(dict.fromkeys(captured)) == [1, 2, 3]
    assert captured.count(1) * 2 == captured.count(2)  # which was let go for 3, and came again
