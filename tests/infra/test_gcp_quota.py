"""What a fleet takes of GCP's quotas, and what is said when that is too much."""

from __future__ import annotations

from typing import Any

import pytest
from mlb.errors import PreflightError
from mlb.infra.catalogue import Machine, load
from mlb.infra.failures import kind_of
from mlb.infra.gcp_quota import Quota, check, project_needs, regional_needs
from mlb.infra.spec import FleetSpec


def machine(machine_id: str) -> Machine:
    return next(m for m in load().machines if (m.cloud, m.id) == ("gcp", machine_id))


def spec(**asked: Any) -> FleetSpec:
    return FleetSpec(name="a", cloud="gcp", **asked)


@pytest.mark.parametrize(
    ("machine_id", "needs"),
    [
        ("n1-standard-8+2xT4", {"NVIDIA_T4_GPUS": 6, "CPUS": 24}),
        ("a2-highgpu-2g", {"NVIDIA_A100_GPUS": 6, "A2_CPUS": 72}),
        ("a2-ultragpu-8g", {"NVIDIA_A100_80GB_GPUS": 24, "A2_CPUS": 288}),
        ("g2-standard-24", {"NVIDIA_L4_GPUS": 6}),
        ("a3-megagpu-8g", {"NVIDIA_H100_MEGA_GPUS": 24}),
        ("n2-standard-4", {"N2_CPUS": 12}),
    ],
)
def test_what_three_nodes_take_in_their_region(machine_id: str, needs: dict[str, float]) -> None:
    common = {"INSTANCES": 3, "IN_USE_ADDRESSES": 3, "SSD_TOTAL_GB": 600}
    assert regional_needs(spec(disk_gb=200), machine(machine_id), 3) == common | needs


def test_every_machine_of_the_catalogue_is_counted() -> None:
    for one in load().machines:
        if one.cloud == "gcp":
            assert any("GPUS" in metric for metric in regional_needs(spec(), one, 1)) == (one.gpus > 0), one.id


def test_only_a_new_fleet_takes_a_network() -> None:
    assert project_needs(machine("a2-highgpu-2g"), 3, new=False) == {"GPUS_ALL_REGIONS": 6}
    new = project_needs(machine("n2-standard-4"), 3, new=True)
    assert new == {"NETWORKS": 1, "SUBNETWORKS": 1, "FIREWALLS": 2}


def test_spot_machines_take_their_own_quota_once_there_is_one() -> None:
    needs = {"NVIDIA_T4_GPUS": 4}
    granted = {"NVIDIA_T4_GPUS": Quota(0, 0), "PREEMPTIBLE_NVIDIA_T4_GPUS": Quota(4, 0)}
    assert check(needs, granted, "us-central1", "p", spot=True) == []
    with pytest.raises(PreflightError, match="NVIDIA_T4_GPUS in us-central1: needed 4, in use 0, allowed 0"):
        check(needs, granted, "us-central1", "p")
    never_asked = {"NVIDIA_T4_GPUS": Quota(8, 2), "PREEMPTIBLE_NVIDIA_T4_GPUS": Quota(0, 0)}
    assert check(needs, never_asked, "us-central1", "p", spot=True) == []


def test_a_quota_that_is_not_listed_is_a_note() -> None:
    (note,) = check({"NVIDIA_H100_GPUS": 8}, {}, "us-east4", "p")
    assert note == "Google does not list the quota NVIDIA_H100_GPUS in us-east4: it was not checked."


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("googleapi: Error 403: Quota 'NETWORKS' exceeded.  Limit: 5.0 globally., quotaExceeded", "quota"),
        ("Error waiting for instance to create: QUOTA_EXCEEDED: Quota 'NVIDIA_L4_GPUS' exceeded.", "quota"),
        ("The zone 'projects/p/zones/z' does not have enough resources available to fulfill the request.", "capacity"),
        ("googleapi: Error 401: Request had invalid authentication credentials., authError", "credentials"),
        ('oauth2: "invalid_grant" "reauth related error (invalid_rapt)"', "credentials"),
    ],
)
def test_what_googles_words_mean(problem: str, kind: str) -> None:
    assert kind_of([problem]) == kind
