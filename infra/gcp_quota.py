"""What a fleet takes of a project's quotas on GCP, against what is left of them.

Quotas are metrics of a region (GPUs by kind, CPUs by family, disks, addresses, machines) and of the project (GPUs in
all regions, networks, firewall rules). Google's interface lists most of them; one that it does not list (the newest
GPUs are counted elsewhere) is a note, never a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import PreflightError
from .catalogue import Machine
from .spec import FleetSpec

_GPUS = {
    "T4": "NVIDIA_T4_GPUS",
    "V100": "NVIDIA_V100_GPUS",
    "L4": "NVIDIA_L4_GPUS",
    "A100": "NVIDIA_A100_GPUS",
    "A100 80G": "NVIDIA_A100_80GB_GPUS",
    "H100": "NVIDIA_H100_GPUS",
}
# vCPUs by family; G2 and A3 machines are counted by their GPUs alone.
_CPUS = {"n1": "CPUS", "n2": "N2_CPUS", "a2": "A2_CPUS"}


@dataclass(frozen=True)
class Quota:
    """One metric: what is allowed, and what of it is in use."""

    limit: float
    usage: float


def regional_needs(spec: FleetSpec, machine: Machine, adding: int) -> dict[str, float]:
    """What `adding` nodes take of their region's metrics."""
    needs: dict[str, float] = {
        "INSTANCES": adding,
        "IN_USE_ADDRESSES": adding,
        "SSD_TOTAL_GB": adding * spec.disk_gb,  # balanced disks count as SSD
    }
    family = machine.machine_type.partition("-")[0]
    if family in _CPUS:
        needs[_CPUS[family]] = adding * machine.vcpus
    if machine.gpus:
        mega = "H100_MEGA_GPUS" if "megagpu-8g" in machine.machine_type else ""
        needs[f"NVIDIA_{mega}" if mega else _GPUS[machine.gpu]] = adding * machine.gpus
    return needs


def project_needs(machine: Machine, adding: int, *, new: bool) -> dict[str, float]:
    """What they take of the project's metrics; a new fleet takes a network, too."""
    needs: dict[str, float] = {"GPUS_ALL_REGIONS": adding * machine.gpus} if machine.gpus else {}
    return needs | ({"NETWORKS": 1, "SUBNETWORKS": 1, "FIREWALLS": 2} if new else {})


def check(
    needs: Mapping[str, float], quotas: Mapping[str, Quota], where: str, project: str, *, spot: bool = False
) -> list[str]:
    """Raises PreflightError with every metric that is too small; returns notes on those that are not listed."""
    notes, short = [], []
    for metric, need in needs.items():
        name, quota = _of(metric, quotas, spot=spot)
        if quota is None:
            notes.append(f"Google does not list the quota {name} in {where}: it was not checked.")
        elif quota.usage + need > quota.limit:
            missing = quota.usage + need - quota.limit
            short.append(
                f"{name} in {where}: needed {need:g}, in use {quota.usage:g}, "
                f"allowed {quota.limit:g}, short by {missing:g}"
            )
    if short:
        raise PreflightError(
            f"The quotas of the project {project} are too small.",
            why="\n".join(short),
            fix=f"Ask for more: https://console.cloud.google.com/iam-admin/quotas?project={project}",
        )
    return notes


def _of(metric: str, quotas: Mapping[str, Quota], *, spot: bool) -> tuple[str, Quota | None]:
    """Spot machines have quotas of their own once they were granted; until then they take the usual ones."""
    own = f"PREEMPTIBLE_{metric}"
    if spot and own in quotas and quotas[own].limit > 0:
        return own, quotas[own]
    return metric, quotas.get(metric)


def listed(rows: Sequence[object]) -> dict[str, Quota]:
    """Quotas as Google lists them, by metric."""
    return {r.metric: Quota(r.limit, r.usage) for r in rows}  # type: ignore[attr-defined]  # a message of the API
