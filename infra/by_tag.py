"""Fleets by their tags alone: where to look, what is past its deadline, how to remove it without any record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import PreflightError, TeardownIncomplete, UsageError
from .blueprint import Blueprint, label
from .cloud import Cloud, Leftover, TaggedFleet
from .folder import FleetFolder
from .spec import FleetSpec
from .teardown import Teardown
from .watcher import Watcher


def cloud_for(spec: FleetSpec) -> Cloud:
    """The place of a spec; its library is imported here and nowhere earlier."""
    if spec.cloud == "docker":
        from .docker import Docker

        return Docker()
    if spec.cloud == "aws":
        from .aws import Aws

        return Aws(spec.region)
    if spec.cloud == "gcp":
        from .gcp import Gcp

        return Gcp(spec.project)
    raise UsageError(
        "Hosts that exist have no cloud behind them that could be asked.",
        fix="`mlb infra apply --cloud ssh --hosts FILE` registers them, `mlb infra ls` shows what is registered here.",
    )


def places(cloud: str, region: str, project: str = "", *, everywhere: bool) -> list[tuple[str, Cloud]]:
    """The places to look at for fleets by tag, each with the name of its region."""
    if cloud == "aws" and everywhere:
        from .aws import everywhere as all_regions

        return [(place.region, place) for place in all_regions()]
    spec = FleetSpec(name="all", cloud=cloud, region=region, project=project)  # type: ignore[arg-type]  # checked there
    if cloud == "gcp":
        from .gcp import Gcp

        # One question is answered for the whole project: a region only narrows what is shown.
        return [(region, Gcp(project, "" if everywhere else region))]
    return [(spec.region, cloud_for(spec))]


def expired(cloud: Cloud, now: float) -> list[TaggedFleet]:
    """Fleets past their deadline, found by tag alone: what a node's own timer should have ended and did not."""
    return [fleet for fleet in cloud.fleets() if is_expired(fleet, now)]


def is_expired(fleet: TaggedFleet, now: float) -> bool:
    """Whether it is past its deadline; one that shows none is nobody's to remove."""
    return fleet.expires_epoch is not None and fleet.expires_epoch <= now


def is_of(fleet: TaggedFleet, owner: str) -> bool:
    """Whether that owner rented it; GCP keeps the owner as its labels can spell it."""
    return fleet.owner in (owner, label(owner))


def collect(cloud: Cloud, fleet: TaggedFleet) -> None:
    """Remove an expired fleet; raises TeardownIncomplete with what is left."""
    left: Sequence[Leftover] = cloud.left(fleet.fleet_id)
    problems: Sequence[str] = ()
    for _ in range(3):
        if not left:
            return
        problems = cloud.remove(left)
        left = cloud.left(fleet.fleet_id)
    if left:
        lines = [*(f"{x.kind} {x.id} {x.place}" for x in left), *problems]
        raise TeardownIncomplete(f"{len(left)} resources of {fleet.name} are left.", why="\n".join(lines))


def destroy_by_tag(folder: FleetFolder, like: Blueprint, watcher: Watcher) -> Teardown:
    """Remove all fleets of that name that carry this user's mark; `like` says the name, the place and the owner."""
    spec = like.spec
    cloud = cloud_for(spec)
    mine = [f for f in cloud.fleets() if f.name == spec.name and is_of(f, like.owner)]
    if not mine:
        where = "the project" if spec.cloud == "gcp" else f"{spec.cloud} {spec.region}".rstrip()
        raise PreflightError(f"No fleet {spec.name} of yours is to be found in {where}.")
    done = Teardown(cloud, like, folder, watcher.say)
    for fleet in mine:
        done = Teardown(cloud, replace(like, fleet_id=fleet.fleet_id), folder, watcher.say).run(None)
    folder.remove()
    folder.no_longer_current()  # although its record was lost
    return done
