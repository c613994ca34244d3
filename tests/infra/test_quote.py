"""The catalogue is sound, and the quote says what a fleet costs and what idles."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from mlb.cli.infra_view import quote_text
from mlb.errors import PreflightError, UsageError
from mlb.infra.catalogue import load, parse
from mlb.infra.places import REGIONS
from mlb.infra.quote import Quote, make_quote, refuse_if_over, refuse_if_unknown
from mlb.infra.spec import FleetSpec

TODAY = date(2026, 7, 25)
MACHINES = "cloud,id,machine_type,gpu,gpus,gpu_mib,vcpus,gib,gbit_s,arch,accelerator\n"
PRICES = "cloud,id,region,on_demand,spot,at_least,date,source\n"


def quote(**asked: Any) -> Quote:
    spec = FleetSpec(**{"name": "a", "cloud": "aws", "gpus": 2, "nodes": 4, **asked})
    return make_quote(spec, load(), TODAY)


def test_an_exact_machine_is_taken_first_and_the_cheaper_one_is_named() -> None:
    made = quote()
    assert made.chosen is not None
    assert made.chosen.machine.id == "g7.12xlarge"
    fleet = Decimal("28.51328") + 4 * 100 * Decimal("0.08") / 730
    assert made.per_hour == fleet
    assert made.for_ttl == fleet * 4
    assert made.for_weekend == fleet * 60
    assert made.warnings == ("Cheaper: g4dn.12xlarge (T4) at $3.91 per node, 2 of 4 GPUs idle.",)


def test_idle_gpus_are_named_and_priced() -> None:
    made = quote(gpu_type="t4")
    assert made.chosen is not None
    assert (made.chosen.machine.id, made.chosen.idle_gpus) == ("g4dn.12xlarge", 2)
    assert made.warnings[0] == "2 of 4 GPUs of each node idle and are paid for: 8 GPUs, $7.82 per hour."
    assert [o.machine.id for o in made.alternatives] == ["g4dn.metal"]


@pytest.mark.parametrize(
    ("asked", "machine"),
    [
        ({"gpus": 1}, "g4dn.xlarge"),
        ({"gpus": 8, "gpu_type": "H100"}, "p5.48xlarge"),
        ({"gpus": 3}, "g4dn.12xlarge"),
        ({"gpus": 2, "gpu_type": "T4g"}, "g5g.16xlarge"),
        ({"gpus": 1, "instance_type": "P4D.24xlarge"}, "p4d.24xlarge"),
        ({"cloud": "gcp"}, "n1-standard-8+2xT4"),
        ({"cloud": "gcp", "gpu_type": "A100"}, "a2-highgpu-2g"),
        ({"cloud": "gcp", "gpu_type": "H100", "region": "us-east4"}, "a3-highgpu-2g"),
        ({"gpus": 0}, "m7i.xlarge"),
        ({"gpus": 8}, "g6.48xlarge"),  # not g4dn.metal, which is cheaper: bare metal boots slowly
        ({"gpus": 8, "gpu_type": "T4"}, "g4dn.metal"),  # no virtual machine has as many
        ({"gpus": 8, "instance_type": "g4dn.metal"}, "g4dn.metal"),
    ],
)
def test_choice(asked: dict[str, Any], machine: str) -> None:
    chosen = quote(**asked).chosen
    assert chosen is not None
    assert chosen.machine.id == machine


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"gpu_type": "H10"}, "Did you mean H100"),
        ({"instance_type": "p4d.24xlrge"}, "Did you mean p4d.24xlarge"),
        ({"instance_type": "g4dn.xlarge"}, "g4dn.xlarge has 1 T4 GPUs, not 2"),
        ({"gpus": 16}, "The most is 8"),
    ],
)
def test_nothing_fits(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        quote(**asked)


def test_max_price_refuses() -> None:
    refuse_if_over(quote(max_price=Decimal("28.56")))
    with pytest.raises(PreflightError, match=r"costs \$28.56 per hour, more than --max-price 28.55"):
        refuse_if_over(quote(max_price=Decimal("28.55")))
    with pytest.raises(PreflightError, match="price is unknown"):
        refuse_if_over(quote(gpus=8, instance_type="p5e.48xlarge", max_price=Decimal(5)))


def test_disks_count_in_the_price_and_its_limit() -> None:
    """100 disks of 16 TB cost three times as much as their machines."""
    asked: dict[str, Any] = {"gpus": 1, "nodes": 100, "disk_gb": 16_000}
    made = quote(**asked)
    assert made.per_hour is not None
    assert round(made.per_hour, 2) == Decimal("227.94")
    with pytest.raises(PreflightError, match="smaller disks") as error:
        refuse_if_over(quote(**asked, max_price=Decimal(53)))
    assert error.value.exit_code == 3
    text = quote_text(made)
    for words in ("$227.94", "$0.53 per node, and $1.75 for its disk", "price of disks      2025-07-04, infracost"):
        assert words in text
    assert "without disks" not in text


def test_disks_without_a_price_are_said_and_no_limit_is_promised() -> None:
    spec = FleetSpec(name="a", cloud="aws", gpus=2, nodes=4)
    no_disks = replace(load(), disks=())
    made = make_quote(spec, no_disks, TODAY)
    assert made.per_hour == Decimal("28.51328")
    assert made.warnings[-1].startswith("Without 4 disks of 100 GB, whose price there is not known")
    refuse_if_over(made)
    with pytest.raises(PreflightError, match="the price of disks in us-east-1 is unknown") as error:
        refuse_if_over(make_quote(replace(spec, max_price=Decimal(1000)), no_disks, TODAY))
    assert "mlb catalog refresh --cloud aws --region us-east-1" in error.value.fix


def test_every_region_of_gcp_has_a_price_of_disks() -> None:
    assert all(load().disk_price("gcp", region) for region in REGIONS["gcp"])


@pytest.mark.parametrize(
    ("asked", "network"),
    [
        ({"gpus": 8, "gpu_type": "H100"}, "TCP over one interface, no EFA: perhaps far below the 3200 Gbit/s"),
        ({"gpus": 1}, "TCP over one interface, no EFA"),
        ({"cloud": "gcp"}, "TCP over one interface"),
    ],
)
def test_the_network_is_not_promised_to_be_what_the_machine_is_sold_with(asked: dict[str, Any], network: str) -> None:
    made = quote(**asked)
    assert made.network.startswith(network)
    assert f"  network             {made.network}\n" in quote_text(made) + "\n"
    assert quote(**asked, nodes=1).network == "", "there is nothing to go over"


def test_an_unknown_price_is_refused_unless_accepted() -> None:
    known_in_part = {"cloud": "gcp", "gpus": 8, "instance_type": "a3-megagpu-8g"}
    with pytest.raises(PreflightError, match=r"at least \$82.75: GPUs without their host"):
        refuse_if_unknown(quote(**known_in_part))
    refuse_if_unknown(quote(**known_in_part, unknown_price_ok=True))
    refuse_if_unknown(quote())


def test_an_old_price_warns_and_one_without_a_day_too() -> None:
    spec = FleetSpec(name="a", cloud="aws", gpus=1)
    assert make_quote(spec, load(), date(2026, 8, 19)).warnings == ()
    assert make_quote(spec, load(), date(2026, 8, 20)).warnings == (
        "The price is 31 days old (more than 30); "
        "`mlb catalog refresh --cloud aws --region us-east-1` asks for today's.",
    )
    assert "does not say from which day" in quote(cloud="gcp").warnings[-1]


def test_spot_is_bounded_by_on_demand() -> None:
    chosen = quote(spot=True).chosen
    assert chosen is not None
    assert chosen.bound


def test_a_local_fleet_costs_nothing() -> None:
    assert quote(cloud="docker", gpus=0).per_hour == 0


def test_nodes_without_gpus_have_a_price_in_each_cloud() -> None:
    per_hour = [round(quote(cloud=cloud, gpus=0).per_hour or 0, 6) for cloud in ("aws", "gcp")]
    assert per_hour == [Decimal("0.850236"), Decimal("0.831735")]


def test_json_has_every_number_once() -> None:
    raw = quote(gpu_type="T4").to_json()
    assert raw["usd_per_hour"] == 15.691836
    assert raw["chosen"]["usd_per_node_hour"] == 3.912
    assert raw["chosen"]["usd_per_node_hour_of_disk"] == 0.010959
    assert raw["disk"]["price_date"] == "2025-07-04"
    assert raw["chosen"]["idle_usd_per_hour"] == 7.824
    assert raw["chosen"]["price_date"] == "2026-07-20"


T4 = "aws,x,x,T4,1,16384,4,16,5,x86_64,\n"


@pytest.mark.parametrize(
    ("machines", "prices", "message"),
    [
        (T4, "aws,x,r,1.0,1.1,,2026-07-20,s\n", "spot 1.1 is dearer than on demand 1.0"),
        (T4, "aws,x,r,700.0,,,2026-07-20,s\n", "is a placeholder"),
        (T4, "aws,x,r,0,,,2026-07-20,s\n", "is a placeholder"),
        (T4, "aws,x,r,NaN,,,2026-07-20,s\n", "is a placeholder"),
        (T4, "aws,x,r,cheap,,,2026-07-20,s\n", "prices.csv, line 2"),
        (T4, "aws,x,r,1,,,20.7.2026,s\n", "prices.csv, line 2"),
        (T4, "aws,x,r,1,,,2026-07-20,\n", "no source"),
        (T4, "aws,x,r,,,,2026-07-20,s\n", "no price at all"),
        (T4, "aws,y,r,1,,,2026-07-20,s\n", "y in r is no machine of aws"),
        (T4, "aws,x,r,1,,,,s\naws,x,q,2.1,,,,s\n", "x costs 1 in r but 2.1 in q"),
        (T4 + T4, "", "machines.csv: x of aws is there twice"),
        ("aws,x,x,T4,0,16384,4,16,5,x86_64,\n", "", "counts of CPUs or GPUs make no sense"),
        ("aws,x,x,T4,one,16384,4,16,5,x86_64,\n", "", "machines.csv, line 2"),
    ],
)
def test_a_wrong_row_is_refused_by_name(machines: str, prices: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(MACHINES + machines, PRICES + prices)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("aws,gp3,us-east-1,0,2026-07-20,s", "is a placeholder"),
        ("aws,gp3,us-east-1,80,2026-07-20,s", "disks.csv, line 2 (gp3): 80 $ per GB and month is a placeholder"),
        ("aws,gp3,us-east-1,nan,2026-07-20,s", "is a placeholder"),
        ("aws,gp2,us-east-1,0.1,2026-07-20,s", "no node of aws boots from gp2"),
        ("aws,gp3,us-east-1,0.08,,s", "disks.csv, line 2"),
        ("aws,gp3,us-east-1,0.08,2026-07-20,", "no source"),
    ],
)
def test_a_wrong_row_of_a_disk_is_refused_by_name(row: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(MACHINES, PRICES, "", f"cloud,kind,region,usd_per_gb_month,date,source\n{row}\n")
    assert message in str(error.value)
