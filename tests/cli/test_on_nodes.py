"""What a fleet's nodes cannot do is said before anything is sent to them."""

from types import SimpleNamespace

import pytest
from mlb.cli import bench_fleet
from mlb.errors import UsageError
from mlb.tasks import recipes


def ask(optimiser: str) -> SimpleNamespace:
    return SimpleNamespace(choice=recipes.choose("task2a", "custom", {"optimiser": optimiser}))


def test_an_optimiser_of_a_library_is_refused_on_a_fleet() -> None:
    bench_fleet.refuse_what_nodes_lack(ask("adamw"))
    with pytest.raises(UsageError, match=r"lamb cannot be used on a fleet.*\n?.*pytorch_optimizer.*\n?.*--fleet local"):
        bench_fleet.refuse_what_nodes_lack(ask("lamb"))
