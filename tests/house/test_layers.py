"""Who may import whom, read from the code: docs/decisions and the package's docstring say why."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {p.parent.name for p in ROOT.glob("*/__init__.py")}

ALLOWED = {
    "cli": {"aggregation", "dashboard", "doctor", "infra", "pages", "provisioner", "tasks", "results"},
    "dashboard": {"infra", "pages", "provisioner", "results"},  # docs/decisions/0015
    "doctor": {"infra", "provisioner", "results"},
    "infra": {"templates", "results"},  # docs/decisions/0007, 0066
    "provisioner": {"templates", "results"},  # docs/decisions/0002
    "runners": {"tasks", "aggregation", "results"},
    "tasks": {"models", "datasets"},
    "aggregation": set(),
    "models": set(),
    "datasets": set(),
    "pages": {"results", "templates"},  # docs/decisions/0014
    "results": set(),
    "templates": set(),
}
CALLED = {"PIL": "pillow"}
"""What is imported -> what is installed."""
ONLY_TO_PREPARE = {"scipy"}  # reads a file of ImageNet where its user has no other, before anything is sent to a node
FREE_OF_TORCH = {"cli", "dashboard", "doctor", "infra", "pages", "provisioner", "results", "templates"}
NODE_ROOMS = {"runners", "tasks", "models", "datasets", "aggregation"}
CONTROLLER_LIBRARIES = {"fabric", "boto3", "botocore", "google", "rich", "typer", "python_terraform"}
DOORS = (
    "python_terraform",
    "fabric",
    "boto3",
    "google.cloud",
    "rich",
    "starlette",
    "uvicorn",
    "tensorboard",
    "mlflow",
    "wandb",
    "resvg_py",
)


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).glob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything a file imports, `mlb.` in front of our own."""
    package = ["mlb", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_every_room_has_a_rule() -> None:
    assert set(ALLOWED) == ROOMS


def test_every_room_is_on_the_map() -> None:
    mapped = set(re.findall(r"^    (\w+)/ ", (ROOT / "__init__.py").read_text(), re.MULTILINE))
    assert mapped >= ROOMS, "the docstring of __init__.py is the map of the house"
    assert all((ROOT / name).is_dir() for name in mapped)


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    for path in files_of(room):
        for name in imports(path):
            if not name.startswith("mlb.") or name.startswith(("mlb.errors", "mlb.option", "mlb.__version__")):
                continue
            other = name.split(".")[1]
            assert other == room or other in ALLOWED[room], f"{path.relative_to(ROOT)} imports {name}"


def test_the_cli_knows_the_tasks_by_their_catalogue_alone() -> None:
    for path in files_of("cli"):
        for name in imports(path):
            if name.startswith("mlb.tasks"):
                assert name.startswith("mlb.tasks.catalogue"), f"{path.name} imports {name}"


def test_the_cli_knows_the_patterns_by_their_catalogue_alone() -> None:
    for path in files_of("cli"):
        for name in imports(path):
            if name.startswith("mlb.aggregation"):
                assert name.startswith("mlb.aggregation.catalogue"), f"{path.name} imports {name}"


@pytest.mark.parametrize("file", ["catalogue", "graphs"])
def test_the_catalogue_of_patterns_needs_no_torch(file: str) -> None:
    assert not [n for n in imports(ROOT / "aggregation" / f"{file}.py") if n.split(".")[0] == "torch"]


@pytest.mark.parametrize("room", sorted(FREE_OF_TORCH))
def test_controller_rooms_import_no_torch(room: str) -> None:
    for path in files_of(room):
        assert not [n for n in imports(path) if n.split(".")[0] == "torch"], path


@pytest.mark.parametrize("room", sorted(NODE_ROOMS))
def test_node_rooms_import_no_controller_library(room: str) -> None:
    for path in files_of(room):
        assert not CONTROLLER_LIBRARIES & {n.split(".")[0] for n in imports(path)}, path


def test_what_node_rooms_import_is_put_on_the_nodes() -> None:
    from mlb.provisioner.bootstrap import NODE_PACKAGES
    from mlb.results.backends import MPI_PACKAGES

    for room in NODE_ROOMS:
        for path in files_of(room):
            foreign = {name.split(".")[0] for name in imports(path)} - {"mlb"} - set(sys.stdlib_module_names)
            foreign = {CALLED.get(name, name) for name in foreign} - ONLY_TO_PREPARE
            put = {*NODE_PACKAGES, *MPI_PACKAGES}
            assert foreign <= put, f"{path.relative_to(ROOT)}: add to provisioner/bootstrap.py"


@pytest.mark.parametrize("library", DOORS)
def test_each_foreign_library_has_one_door(library: str) -> None:
    users = [
        path.relative_to(ROOT)
        for room in ROOMS
        for path in files_of(room)
        if any(f"{n}.".startswith(f"{library}.") for n in imports(path))
    ]
    assert len(users) <= 1, users


def test_no_circle_between_rooms() -> None:
    done: set[str] = set()
    while rest := set(ALLOWED) - done:
        free = {room for room in rest if ALLOWED[room] <= done}
        assert free, f"a circle among {rest}"
        done |= free


def test_imports_inside_the_package_are_relative() -> None:
    for room in ROOMS:
        for path in files_of(room):
            tree = ast.parse(path.read_text())
            absolute = [
                n
                for n in ast.walk(tree)
                if isinstance(n, ast.ImportFrom) and not n.level and (n.module or "").startswith("mlb")
            ]
            assert not absolute, f"{path.relative_to(ROOT)} imports mlb by its absolute name"


def test_every_room_says_in_one_sentence_what_it_is() -> None:
    for room in ROOMS:
        doc = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
        assert doc, room
        assert len(doc.splitlines()) == 1, room
