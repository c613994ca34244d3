"""`mlb catalog refresh` against a price list of this machine's own, asked through the real boto3."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support import Mlb


class PriceList(BaseHTTPRequestHandler):
    """GetProducts and DescribeSpotPriceHistory, as far as they are asked."""

    on_demand: ClassVar[dict[str, str]] = {}
    spot: ClassVar[list[tuple[str, str, str, str]]] = []
    disk: ClassVar[str | None] = None
    asked: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        pricing = "GetProducts" in self.headers.get("X-Amz-Target", "")
        answer = self._products(json.loads(body)) if pricing else self._history(urllib.parse.parse_qs(body.decode()))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1" if pricing else "text/xml")
        self.end_headers()
        self.wfile.write(answer.encode())

    def _products(self, asked: dict[str, Any]) -> str:
        filters = {one["Field"]: one["Value"] for one in asked["Filters"]}
        self.asked.append(filters)
        disk = filters.get("volumeApiName") == "gp3"
        price = self.disk if disk else self.on_demand.get(filters["instanceType"])
        rows = [] if price is None else [{"unit": "GB-Mo" if disk else "Hrs", "pricePerUnit": {"USD": price}}]
        # A free row and one that is not per hour, as the real list has them.
        rows += [{"unit": "Hrs", "pricePerUnit": {"USD": "0.0000"}}, {"unit": "Quantity", "pricePerUnit": {"USD": "9"}}]
        terms = {"OnDemand": {"T": {"priceDimensions": {str(i): row for i, row in enumerate(rows)}}}}
        return json.dumps({"FormatVersion": "aws_v1", "PriceList": [json.dumps({"terms": terms})]})

    def _history(self, asked: dict[str, list[str]]) -> str:
        assert asked["Action"] == ["DescribeSpotPriceHistory"]
        items = "".join(
            f"<item><instanceType>{kind}</instanceType><availabilityZone>{zone}</availabilityZone>"
            f"<spotPrice>{price}</spotPrice><timestamp>{when}</timestamp></item>"
            for kind, zone, price, when in self.spot
        )
        name = "DescribeSpotPriceHistoryResponse"
        return f"<{name}><spotPriceHistorySet>{items}</spotPriceHistorySet></{name}>"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mlb(mlb_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mlb]:
    PriceList.on_demand, PriceList.spot, PriceList.asked = {"g7.12xlarge": "7.5000000000", "m7i.xlarge": "0.2"}, [], []
    PriceList.disk = "0.0950000000"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), PriceList) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield Mlb(mlb_home, tmp_path)
        server.shutdown()


def whole_quote(mlb: Mlb, *more: str) -> dict[str, Any]:
    done = mlb("infra", "quote", "--cloud", "aws", "--json", *more)
    assert done.returncode == 0, done.stderr
    quote: dict[str, Any] = json.loads(done.stdout)
    return quote


def quoted(mlb: Mlb, *more: str) -> dict[str, Any]:
    chosen: dict[str, Any] = whole_quote(mlb, *more)["chosen"]
    return chosen


def test_todays_prices_take_the_place_of_those_that_ship(mlb: Mlb, mlb_home: Path) -> None:
    assert quoted(mlb, "--gpus", "2")["usd_per_node_hour"] == 7.12832
    assert quoted(mlb, "--gpus", "0")["usd_per_node_hour"] == 0.2016
    done = mlb("catalog", "refresh")
    assert done.returncode == 0, done.stderr
    assert "g7.12xlarge in us-east-1: $7.13 -> $7.50" in done.stdout
    assert "No price there for: g4dn.12xlarge" in done.stdout
    assert {"operatingSystem": "Linux", "tenancy": "Shared"}.items() <= PriceList.asked[0].items()
    new = quoted(mlb, "--gpus", "2")
    today = datetime.now(UTC).date().isoformat()
    assert (new["usd_per_node_hour"], new["price_date"]) == (7.5, today)
    assert "GetProducts" in new["price_source"]
    assert quoted(mlb, "--gpus", "0")["usd_per_node_hour"] == 0.2
    assert (mlb_home / "state" / "prices.csv").stat().st_mode & 0o077 == 0


def test_disks_elsewhere_have_a_price_after_a_refresh(mlb: Mlb, mlb_home: Path) -> None:
    there = ("--gpus", "2", "--region", "eu-west-1")
    assert whole_quote(mlb, *there)["disk"] is None
    done = mlb("catalog", "refresh", "--region", "eu-west-1")
    assert done.returncode == 0, done.stderr
    assert "gp3 in eu-west-1: $0.095 per GB and month" in done.stdout
    filters = {"productFamily": "Storage", "volumeApiName": "gp3", "regionCode": "eu-west-1"}
    assert filters in PriceList.asked
    quote = whole_quote(mlb, *there, "--disk-gb", "7300")
    today = datetime.now(UTC).date().isoformat()
    assert (quote["disk"]["usd_per_gb_month"], quote["disk"]["price_date"]) == (0.095, today)
    assert quote["usd_per_hour"] == 8.45, "7.50 for the machine, 0.95 for the disk"
    assert (mlb_home / "state" / "disks.csv").stat().st_mode & 0o077 == 0
    PriceList.disk = None
    assert mlb("catalog", "refresh", "--region", "eu-west-1").returncode == 0
    assert whole_quote(mlb, *there)["disk"]["usd_per_gb_month"] == 0.095, "a list without disks takes no price away"


def test_spot_is_the_dearest_zone_now(mlb: Mlb) -> None:
    PriceList.spot = [
        ("g7.12xlarge", "us-east-1a", "2.5", "2026-11-24T01:00:00Z"),
        ("g7.12xlarge", "us-east-1a", "6.0", "2026-11-23T01:00:00Z"),
        ("g7.12xlarge", "us-east-1b", "3.25", "2026-11-24T00:00:00Z"),
        ("m7i.xlarge", "us-east-1b", "0.9", "2026-11-24T00:00:00Z"),
    ]
    assert mlb("catalog", "refresh").returncode == 0
    spot = quoted(mlb, "--gpus", "2", "--spot")
    assert (spot["usd_per_node_hour"], spot["is_ceiling"]) == (3.25, False)
    above = quoted(mlb, "--gpus", "0", "--spot")
    assert (above["usd_per_node_hour"], above["is_ceiling"]) == (0.2, True), "a spot price above the list is no offer"


def test_prices_that_make_no_sense_are_not_kept(mlb: Mlb, mlb_home: Path) -> None:
    PriceList.on_demand = {"g7.12xlarge": "9999"}
    done = mlb("catalog", "refresh", "--json")
    assert done.returncode == 2
    assert "9999 $/h is a placeholder" in json.loads(done.stdout)["error"]["why"]
    assert not (mlb_home / "state" / "prices.csv").exists()
    assert quoted(mlb, "--gpus", "2")["usd_per_node_hour"] == 7.12832


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--region", "us-esat-1"], 2, "Did you mean us-"),
    ],
)
def test_refusals(mlb: Mlb, args: list[str], code: int, words: str) -> None:
    done = mlb("catalog", "refresh", *args)
    assert done.returncode == code
    assert words in done.stderr


def test_an_empty_list_changes_nothing(mlb: Mlb, mlb_home: Path) -> None:
    PriceList.on_demand = {}
    done = mlb("catalog", "refresh")
    assert done.returncode == 3
    assert "no price for any machine" in done.stderr
    assert not (mlb_home / "state" / "prices.csv").exists()
