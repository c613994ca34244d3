"""`mlb catalog refresh --cloud gcp` against a price list of this machine's own, in the real one's words."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from mlb.errors import PreflightError, UsageError
from mlb.infra import catalogue
from mlb.infra.gcp_prices import machine_price
from mlb.infra.refresh import refresh
from support import Mlb

from .google_mirror import login_file

AMERICAS = ["us-central1", "us-east1"]


def row(description: str, dollars: str, usage: str = "OnDemand", regions: list[str] = AMERICAS, **odd: Any) -> Any:
    """A row of the price list; `odd` replaces parts of its price."""
    units, _, nanos = dollars.partition(".")
    money = {"currencyCode": "USD", "units": units, "nanos": int(nanos.ljust(9, "0"))}
    rates = [{"startUsageAmount": 0, "unitPrice": {**money, **odd.pop("money", {})}}]
    expression = {"usageUnit": "h", "tieredRates": rates, **odd}
    old = {"pricingExpression": {**expression, "tieredRates": [{"unitPrice": {"currencyCode": "USD", "units": "99"}}]}}
    return {
        "description": description,
        "category": {"resourceFamily": "Compute", "usageType": usage},
        "serviceRegions": regions,
        "pricingInfo": [old, {"pricingExpression": expression}],
    }


ROWS = [
    row("N1 Predefined Instance Core running in Americas", "0.03"),
    row("N1 Predefined Instance Ram running in Americas", "0.004", usageUnit="GiBy.h"),
    row("Nvidia Tesla T4 GPU running in Americas", "0.35"),
    row("Spot Preemptible N1 Predefined Instance Core running in Americas", "0.01", "Preemptible"),
    row("Spot Preemptible N1 Predefined Instance Ram running in Americas", "0.001", "Preemptible", usageUnit="GiBy.h"),
    row("Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in Americas", "0.1", "Preemptible"),
    row("A2 Instance Core running in Americas", "0.03"),
    row("A2 Instance Ram running in Americas", "0.004", usageUnit="GiBy.h"),
    row("NVIDIA Tesla A100 GPU running in Americas", "3"),
    row("A3Plus Instance Core running in Americas", "0.02"),
    row("A3Plus Instance Ram running in Americas", "0.002", usageUnit="GiBy.h"),
    row("Nvidia H100 80GB Plus GPU running in Americas", "10"),
    row("Balanced PD Capacity", "0.1", usageUnit="GiBy.mo"),
    row("Balanced PD Capacity in Frankfurt", "0.12", regions=["europe-west3"], usageUnit="GiBy.mo"),
    row("Regional Balanced PD Capacity in Frankfurt", "0.24", regions=["europe-west3"], usageUnit="GiBy.mo"),
    row("Balanced PD Capacity in Finland", "0.11", regions=["europe-north1"], usageUnit="GiBy.mo"),
    row("Balanced PD Capacity in Finland", "0.13", regions=["europe-north1"], usageUnit="GiBy.mo"),
    # What is called alike and is not the price of a machine.
    row("N1 Predefined Instance Core running in Frankfurt", "0.9", regions=["europe-west3"]),
    row("Custom Instance Core running in Americas", "0.9"),
    row("Commitment v1: Nvidia Tesla T4 GPU running in Americas for 1 Year", "0.2", "Commit1Yr"),
    row("Nvidia Tesla A100 80GB GPU running in Americas", "9"),
    row("Reserved Nvidia H100 80GB Mega GPU in Americas in Calendar Mode", "4"),
    row("Nvidia H100 Mega 80GB GPU attached to DWS Defined Duration VMs running in Americas", "4"),
    row("Nvidia Tesla T4 GPU running in Americas", "0.3", money={"currencyCode": "EUR"}),
    row("Nvidia Tesla T4 GPU running in Americas", "0.2", usageUnit="mo"),
    row("Nvidia Tesla T4 GPU running in Americas", "0.0"),
    # A price in steps, and a part with two prices: neither is guessed at.
    row("N2 Instance Core running in Americas", "0.03", tieredRates=[{"startUsageAmount": 0}, {"startUsageAmount": 9}]),
    row("N2 Instance Ram running in Americas", "0.004", usageUnit="GiBy.h"),
    row("G2 Instance Core running in Americas", "0.03"),
    row("G2 Instance Ram running in Americas", "0.004", usageUnit="GiBy.h"),
    row("Nvidia L4 GPU running in Americas", "0.5"),
    row("Nvidia L4 GPU running in Americas", "0.6"),
]


class PriceList(BaseHTTPRequestHandler):
    """The Cloud Billing Catalog API, ten rows a page."""

    rows: ClassVar[list[Any]] = []
    asked: ClassVar[list[tuple[str, str]]] = []
    refusal: ClassVar[tuple[int, str, str] | None] = None

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        self.asked.append((url.path, self.headers.get("x-goog-user-project", "")))
        if self.refusal or self.headers.get("authorization") != "Bearer of-a-test":
            code, status, message = self.refusal or (401, "UNAUTHENTICATED", "no token")
            self._send(code, {"error": {"code": code, "status": status, "message": message}})
            return
        assert (query["currencyCode"], query["pageSize"]) == ("USD", "5000")
        begin = int(query.get("pageToken", "0"))
        more = str(begin + 10) if begin + 10 < len(self.rows) else ""
        self._send(200, {"skus": self.rows[begin : begin + 10], "nextPageToken": more})

    def _send(self, code: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mlb(mlb_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mlb]:
    PriceList.rows, PriceList.asked, PriceList.refusal = list(ROWS), [], None
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(login_file(tmp_path)))
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), PriceList) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("GOOGLE_CLOUD_BILLING_CUSTOM_ENDPOINT", f"http://127.0.0.1:{server.server_port}/v1/")
        yield Mlb(mlb_home, tmp_path)
        server.shutdown()


def test_a_machine_is_the_sum_of_its_parts(mlb: Mlb) -> None:
    regions = ("--region", "us-central1", "--region", "europe-west3")
    done = mlb("catalog", "refresh", "--cloud", "gcp", "--project", "bench-1234", *regions)
    assert done.returncode == 0, done.stderr
    assert "n1-standard-8+2xT4 in us-central1: $1.08 -> $1.06" in done.stdout
    assert set(PriceList.asked) == {("/v1/services/6F81-5844-456A/skus", "bench-1234")}
    assert len(PriceList.asked) == 4, "four pages, once for both regions"
    quoted = json.loads(mlb("infra", "quote", "--cloud", "gcp", "--gpus", "2", "--json").stdout)
    chosen = quoted["chosen"]
    assert (chosen["usd_per_node_hour"], chosen["price_date"]) == (1.06, datetime.now(UTC).date().isoformat())
    assert "without disks" in chosen["price_source"]
    assert not any("day" in warning for warning in quoted["warnings"]), "today's price has a day, and is not old"
    spot = json.loads(mlb("infra", "quote", "--cloud", "gcp", "--gpus", "2", "--spot", "--json").stdout)["chosen"]
    assert (spot["usd_per_node_hour"], spot["is_ceiling"]) == (0.31, False)


def test_what_is_called_alike_is_not_counted(mlb: Mlb, tmp_path: Path) -> None:
    found = {p.id: p.on_demand for p in refresh("gcp", [], tmp_path / "state").prices}
    assert str(found["a2-highgpu-1g"]) == "3.7", "12 x 0.03 + 85 x 0.004 + 3, the GPU with 40 GB"
    assert str(found["a3-megagpu-8g"]) == "87.904"
    absent = {"n2-standard-8", "g2-standard-24", "a3-highgpu-8g"}
    assert not absent & set(found), "a price in steps, two prices, no price: not guessed at"


def test_disks_have_a_price_in_each_region_that_has_exactly_one(mlb: Mlb, tmp_path: Path) -> None:
    found = refresh("gcp", ["us-central1", "europe-west3", "europe-north1"], tmp_path / "state").disks
    assert {disk.region: str(disk.usd_per_gb_month) for disk in found} == {"us-central1": "0.1", "europe-west3": "0.12"}
    disk = catalogue.load(tmp_path / "state").disk_price("gcp", "europe-west3")
    assert disk is not None
    assert disk.dated == datetime.now(UTC).date()


def test_every_machine_of_the_catalogue_can_be_priced() -> None:
    """Each part of each machine has a name here; a part that had none would leave its machine without a price."""

    class Anything(dict[str, frozenset[Any]]):
        """Has a price for every name; a family or GPU without one comes out as a name that begins with a blank."""

        def get(self, key: str, default: Any = None) -> Any:
            unnamed = key.removeprefix("spot preemptible").lstrip() in ("core", "ram")
            return default if unnamed else frozenset({Decimal(1)})

    machines = [machine for machine in catalogue.load().machines if machine.cloud == "gcp"]
    for machine, spot in itertools.product(machines, (False, True)):
        total = machine_price(machine, Anything(), spot=spot)
        assert total == machine.vcpus + machine.gib + machine.gpus, machine.id


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((403, "PERMISSION_DENIED", "has not been used"), "services enable cloudbilling.googleapis.com --project b-1"),
        ((500, "INTERNAL", "oops"), "Google refused the price list: 500 INTERNAL"),
    ],
)
def test_a_refusal_is_said_and_nothing_is_kept(
    mlb: Mlb, tmp_path: Path, refusal: tuple[int, str, str], words: str
) -> None:
    PriceList.refusal = refusal
    with pytest.raises(PreflightError, match=words):
        refresh("gcp", [], tmp_path / "state", "b-1")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("cloud", "region", "words"),
    [("gcp", "us-centrel1", "Did you mean us-central1"), ("docker", "", "There is no price list of 'docker'")],
)
def test_wrong_places(cloud: str, region: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        refresh(cloud, [region], tmp_path)
