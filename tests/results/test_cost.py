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
from mlb.results.cost import Rent, cost_of, energy_j_of, target_words_of, usd, words_of
from mlb.results.measure_tables import measure_tables
from mlb.results.metrics import compute
from mlb.results.report import to_text
from mlb.results.run import RunFolder
from mlb.results.table import text_of
from stories import LAUNCHED, S, small_run

CREATED_S = LAUNCHED / S - 600
"""The fleet is ten minutes older than the run."""


def rented(path: Path, usd_per_hour: float | None = 36.0, nodes: int = 4, **spec: Any) -> RunFolder:
    """The small run on one node of `nodes`: a cent a second for all of them."""
    rent = Rent(usd_per_hour, "a list of yesterday", nodes, 0.0, CREATED_S)
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


def test_what_was_spent_before_is_added_to_what_the_fleet_costs_now(tmp_path: Path) -> None:
    """A fleet that was resized: $120 until it was asked for the run, ten minutes before the launch."""
    metrics = compute(rented(tmp_path, rent=Rent(36.0, "x", 8, 120.0, CREATED_S)))
    cost, target_s = cost_of(metrics), metrics.time_to_target_from_launch_s
    assert cost
    assert target_s
    assert cost.target_billed_usd == pytest.approx(120 + 0.01 * (600 + target_s))


def test_a_run_of_an_earlier_version_is_read_as_it_was(tmp_path: Path) -> None:
    """It took its fleet to have cost the same from its beginning on."""
    folder = rented(tmp_path)
    now, raw = cost_of(compute(folder)), json.loads(folder.spec.read_text())
    old = {"usd_per_hour": 36.0, "source": "a list of yesterday", "nodes": 4, "created_unix_s": CREATED_S}
    folder.spec.write_text(json.dumps({**raw, "rent": old}))
    assert cost_of(compute(folder)) == now
    folder.spec.write_text(json.dumps({**raw, "rent": {**old, "created_unix_s": None}}))
    unknown = cost_of(compute(folder))
    assert unknown
    assert unknown.billed_usd is None


@pytest.mark.parametrize(
    ("rate", "spent", "clock", "billed"), [(True, True, "at most ", "at most "), (False, True, "", "at most ")]
)
def test_a_ceiling_is_called_one(tmp_path: Path, rate: bool, spent: bool, clock: str, billed: str) -> None:
    rent = Rent(36.0, "x", 1, 120.0, CREATED_S, is_ceiling=rate, spent_is_ceiling=spent)
    folder = rented(tmp_path, rent=rent)
    metrics = compute(folder)
    words = words_of(metrics)
    assert words.startswith(f"{clock}$")
    assert f", {billed}$126.10 billed from" in words
    assert f"({clock}$36.00 an hour, x;" in words
    assert f", {billed}$126.10 billed by then" in target_words_of(metrics)
    assert f"{billed}$126.10 billed from" in run_page(folder, metrics)
    comparison = compare([entry_of(folder)])
    (table,) = [t for t in measure_tables(comparison) if t.title == "Cost to the target"]
    _, on_clock, whole, energy, _ = table.rows[0]
    assert (on_clock.startswith("at most "), whole, energy) == (bool(clock), "at most 126.1", "-")


def test_a_fleet_whose_beginning_is_not_known_has_no_bill(tmp_path: Path) -> None:
    for spent, as_of in ((None, LAUNCHED / S - 5), (None, None), (0.0, LAUNCHED / S + 5)):
        cost = cost_of(compute(rented(tmp_path, rent=Rent(36.0, "x", 1, spent, as_of))))
        assert cost is not None
        assert (cost.billed_usd, cost.target_billed_usd) == (None, None)


def test_an_edited_rent_is_refused(tmp_path: Path) -> None:
    folder = rented(tmp_path)
    raw = json.loads(folder.spec.read_text())
    folder.spec.write_text(json.dumps({**raw, "rent": {"usd": 1}}))
    with pytest.raises(ResultsInvalid, match=r"run\.json is incomplete or was edited"):
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
