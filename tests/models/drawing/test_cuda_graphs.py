import pytest
import torch

from models.drawing.cuda_graphs import GraphedStage2
from models.drawing.generate import Batch, run_to_end
from models.drawing.sampling import RowParams
from models.pipeline import LoadOptions, Pipeline, load
from models.stage2.transformer import Step

_PARAMS = [
    RowParams(seed=5, candidate=i, top_k=None if i % 2 else 20, top_p=0.9 if i % 3 else None)
    for i in range(6)
]


def test_graphs_belong_to_one_cache(tiny: Pipeline) -> None:
    graphed = GraphedStage2(tiny.stage2)
    cache = graphed.new_cache(2)
    with pytest.raises(RuntimeError, match="one cache"):
        graphed.new_cache(2)
    places = torch.zeros(2, dtype=torch.int64)
    step = Step(places + 8, torch.zeros(2, 1, 1, 23), 23)
    with pytest.raises(RuntimeError, match="one cache"):
        graphed.decode(places[:, None], places, tiny.stage2.new_cache(2), step)
    assert cache.data.shape[2] == 2


def test_it_looks_like_its_transformer(tiny: Pipeline) -> None:
    graphed = GraphedStage2(tiny.stage2)
    assert (graphed.depth, graphed.num_steps, graphed.vocab_size) == (1, 16, 64)
    assert graphed.device == tiny.stage2.device
    hidden = torch.randn(3, 32)
    drawn = graphed.sample(hidden, lambda logits, _depth: logits.argmax(-1))
    assert torch.equal(drawn[:, 0], tiny.stage2.head(hidden).argmax(-1))


def test_a_cpu_runs_without_graphs(tiny: Pipeline) -> None:
    assert tiny.batch(2).stage2 is tiny.stage2


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def on_gpu(request: pytest.FixtureRequest) -> Pipeline:
    return load("tiny", options=LoadOptions(device=torch.device("cuda"), dtype=request.param))


@pytest.mark.gpu
def test_replayed_steps_draw_what_launched_steps_draw(on_gpu: Pipeline) -> None:
    prefix = on_gpu.prefix(on_gpu.encode("a heart"))
    graphed = on_gpu.batch(4)
    assert isinstance(graphed.stage2, GraphedStage2)
    plain = Batch(on_gpu.stage2, 4, graphed.shapes)
    # Six candidates on four rows: rows join half-way and several shapes are captured.
    assert torch.equal(run_to_end(graphed, prefix, _PARAMS), run_to_end(plain, prefix, _PARAMS))


@pytest.mark.gpu
def test_a_gpu_row_draws_what_it_draws_alone(on_gpu: Pipeline) -> None:
    prefix = on_gpu.prefix(on_gpu.encode("a heart"))
    together = run_to_end(on_gpu.batch(4), prefix, _PARAMS)
    for params, row in zip(_PARAMS, together, strict=True):
        assert torch.equal(run_to_end(on_gpu.batch(4), prefix, [params])[0], row)


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
