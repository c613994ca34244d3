"""What a run cost: by hand, for a part of a fleet, and where nobody knows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import ResultsInvalid
from mlb.pages.page import run_page
from mlb.results.compare import compare, entry_of
from mlb.results.compare_report import render_comparison
from mlb.results.cost import Rent, cost_of, energy_j_of, usd, words_of
from mlb.results.metrics import compute
from mlb.results.report import to_text
from mlb.results.run import RunFolder
from mlb.results.table import text_of
from stories import LAUNCHED, S, small_run

CREATED_S = LAUNCHED / S - 600
"""The fleet is ten minutes older than the run."""


def rented(path: Path, usd_per_hour: float | None = 36.0, nodes: int = 4, **spec: Any) -> RunFolder:
    """The small run on one node of `nodes`: a cent a second for all of them."""
    rent = Rent(usd_per_hour, "a list of yesterday", nodes, CREATED_S)
    return small_run(path, **{"fleet": "demo", "rent": rent, **spec}).folder


def test_the_cost_by_hand(tmp_path: Path) -> None:
    metrics = compute(rented(tmp_path))
    cost = cost_of(metrics)
    assert cost is not None
    wall_s, target_s = metrics.split.wall_s, metrics.time_to_target_from_launch_s
    assert wall_s is not None
    assert target_s is not None
    assert cost.clock_usd == pytest.approx(0.01 * wall_s / 4), "one node of four"
    assert cost.billed_usd == pytest.approx(0.01 * (600 + wall_s)), "all four, from the beginning"
    assert cost.target_clock_usd == pytest.approx(0.01 * target_s / 4)
    assert cost.target_billed_usd == pytest.approx(0.01 * (600 + target_s))
    assert metrics.to_json()["cost"]["clock_usd"] == cost.clock_usd


def test_it_is_in_every_report(tmp_path: Path) -> None:
    folder = rented(tmp_path)
    metrics = compute(folder)
    text, page = to_text(metrics, 100), run_page(folder, metrics)
    for said in ("on the clock", "$6.10 billed", "a list of yesterday"):
        assert said in text.replace("\n" + " " * 28, " "), text
        assert said in page


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"rent": Rent(0.0)}, "nothing was rented"),
        ({"rent": None, "fleet": "local"}, "nothing was rented"),
        ({"rent": Rent(None)}, "not known: the fleet had no price"),
        ({"rent": None}, "not known: the fleet had no price"),
    ],
)
def test_where_there_is_no_price(tmp_path: Path, spec: dict[str, Any], said: str) -> None:
    metrics = compute(rented(tmp_path, **spec))
    assert cost_of(metrics) is None
    assert words_of(metrics) == said
    assert metrics.to_json()["cost"] is None
    assert "$" not in to_text(metrics, 100)


def test_a_fleet_whose_beginning_is_not_known_has_no_bill(tmp_path: Path) -> None:
    for created in (None, LAUNCHED / S + 5):
        cost = cost_of(compute(rented(tmp_path, rent=Rent(36.0, "x", 1, created))))
        assert cost is not None
        assert (cost.billed_usd, cost.target_billed_usd) == (None, None)


def test_an_edited_rent_is_refused(tmp_path: Path) -> None:
    folder = rented(tmp_path)
    raw = json.loads(folder.spec.read_text())
    folder.spec.write_text(json.dumps({**raw, "rent": {"usd": 1}}))
    with pytest.raises(ResultsInvalid, match=r"run\.json was edited"):
        folder.read_spec()


def test_the_price_index_is_price_over_performance(tmp_path: Path) -> None:
    """Twice the price at the same speed is an index of 2."""
    one, two = rented(tmp_path, nodes=1, run_id="one"), rented(tmp_path, 72.0, 1, run_id="two", backend="nccl")
    text = text_of(render_comparison(compare([entry_of(one), entry_of(two)])), 200)
    (row,) = [line for line in text[text.index("Cost to the target") :].splitlines() if line.startswith("B ")]
    assert row.split()[-1] == "2"


def test_energy_needs_every_node(tmp_path: Path) -> None:
    metrics = compute(rented(tmp_path))
    assert energy_j_of(metrics) is None
    node: Any = type("Node", (), {"energy_j": 1500.0})
    assert energy_j_of(replace(metrics, resources=(node,))) == 1500.0
    nothing: Any = type("Node", (), {"energy_j": None})
    assert energy_j_of(replace(metrics, resources=(node, nothing))) is None


def test_cents_and_less() -> None:
    assert (usd(1234.5), usd(0.5), usd(0.0123)) == ("$1,234.50", "$0.50", "$0.012")
