from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent


def _modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh Python has loaded after one statement."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import service.api.app, service.api.server", "import service.client"]
)
def test_the_api_and_its_client_load_no_torch(statement: str) -> None:
    unused = {"torch", "torchvision", "open_clip", "numpy", "obstore"}
    assert not _modules_after(statement) & unused


def test_the_worker_loads_no_web_framework() -> None:
    assert not _modules_after("import service.worker.worker") & {"fastapi", "uvicorn", "obstore"}


def test_the_client_loads_no_server_and_opens_no_pictures() -> None:
    assert not _modules_after("import service.client") & {"fastapi", "starlette", "uvicorn", "PIL"}


def _sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def _reads_environment(tree: ast.Module) -> bool:
    names = {"environ", "getenv", "environb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and any(alias.name in names for alias in node.names))
        for node in ast.walk(tree)
    )


def test_only_the_settings_read_the_environment() -> None:
    readers = {path.name for path, tree in _sources("service") if _reads_environment(tree)}
    assert readers == {"settings.py"}


def test_no_middleware_hides_hang_ups() -> None:
    """Starlette's BaseHTTPMiddleware keeps routes from seeing that the client has gone."""
    for path, tree in _sources("service"):
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert "BaseHTTPMiddleware" not in names | imported, path


def test_every_file_says_what_it_holds() -> None:
    silent = [
        path
        for path, tree in _sources("service", "models")
        if tree.body and not ast.get_docstring(tree)
    ]
    assert silent == []


def test_imports_go_the_way_the_map_says() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph(
        "service", "models", exclude_type_checking_imports=True, cache_dir=None
    )
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imports).prepare()  # CycleError shows the circle


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    lengths = {
        path: len(path.read_text().splitlines()) for path, _ in _sources("service", "models")
    }
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_the_root_of_the_service_holds_at_most_ten_files() -> None:
    assert len(list((ROOT / "service").glob("*.*"))) <= 10


def test_the_root_of_the_models_holds_at_most_fifteen_files() -> None:
    assert len(list((ROOT / "models").glob("*.*"))) <= 15


def test_few_files_know_how_a_recipe_is_spelt() -> None:
    """So that a model family with other parameters is no errand through the whole service."""
    spelling = [path for path, _ in _sources("service") if "top_p" in path.read_text()]
    assert len(spelling) <= 7, spelling
