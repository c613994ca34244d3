"""Fleets as their tags show them, in one region of a cloud or in all: what `ls --cloud` lists and `gc` removes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from ..errors import PreflightError, TeardownIncomplete
from ..infra import by_tag
from ..infra.blueprint import this_owner
from ..infra.cloud import Cloud, TaggedFleet
from . import infra_view as view
from .console import note, show_json, show_table, show_text

_AT_ONCE = 8


@dataclass(frozen=True)
class Where:
    """Where to look for fleets without a record; `cloud` is None for those of this machine."""

    cloud: str | None
    region: str
    project: str

    def seen(self, *, everywhere: bool) -> list[tuple[Cloud, TaggedFleet]]:
        """All fleets there; a region that refuses is told of, and raises only where no other answers."""
        assert self.cloud is not None
        places = by_tag.places(self.cloud, self.region, self.project, everywhere=everywhere)
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            looks = list(zip(places, pool.map(_look, places), strict=True))
        refused = [(region, look) for (region, _), look in looks if isinstance(look, PreflightError)]
        if len(refused) == len(places):
            raise refused[0][1]
        for region, error in refused:
            note(f"! {region} could not be looked at: {error.what}")
        return [(place, f) for (_, place), look in looks if not isinstance(look, PreflightError) for f in look]


def list_tagged(where: Where, *, everywhere: bool, as_json: bool) -> None:
    """All fleets that carry our tags there."""
    found = [fleet for _, fleet in where.seen(everywhere=everywhere)]
    if as_json:
        show_json({"fleets": [asdict(fleet) for fleet in found]})
    else:
        show_table("", view.TAGGED_HEADERS, view.tagged_rows(found, time.time()))


def collect(where: Where, *, everywhere: bool, yes: bool, all_owners: bool, as_json: bool) -> None:
    """Remove what is past its deadline, or list it; what others rented only where that was asked for by name.

    Raises:
        TeardownIncomplete: something of a fleet is left; all others were removed all the same.
    """
    expired = [(place, f) for place, f in where.seen(everywhere=everywhere) if by_tag.is_expired(f, time.time())]
    ours = [(p, f) for p, f in expired if all_owners or by_tag.is_of(f, this_owner())]
    others = [fleet for place, fleet in expired if (place, fleet) not in ours]
    failed = [problem for place, fleet in ours if yes for problem in _removed(place, fleet)]
    fleets = [fleet for _, fleet in ours]
    if as_json:
        show_json({"removed": yes and not failed, "fleets": _plain(fleets), "of_others": _plain(others)})
    else:
        _show(fleets, others, yes=yes, failed=len(failed))
    if failed:
        raise TeardownIncomplete(
            f"{len(failed)} of {len(ours)} fleets are not provably gone.",
            why="\n".join(failed),
            fix="Run the same command again; what stands in the way is named above.",
        )


def _look(place: tuple[str, Cloud]) -> Sequence[TaggedFleet] | PreflightError:
    try:
        return place[1].fleets()
    except PreflightError as error:
        return error


def _removed(place: Cloud, fleet: TaggedFleet) -> list[str]:
    """What went wrong; nothing when the fleet is gone."""
    try:
        by_tag.collect(place, fleet)
    except (TeardownIncomplete, PreflightError) as error:
        return [f"{fleet.name} ({fleet.fleet_id}): {error}"]
    return []


def _show(ours: Sequence[TaggedFleet], others: Sequence[TaggedFleet], *, yes: bool, failed: int) -> None:
    if ours or others:
        show_table("", view.TAGGED_HEADERS, view.tagged_rows([*ours, *others], time.time()))
    show_text(
        f"{len(ours) - failed} fleets removed" if yes else f"{len(ours)} fleets past their deadline; --yes removes them"
    )
    if others:
        show_text(f"{len(others)} rented by others are left alone; --all-owners takes them too")


def _plain(fleets: Sequence[TaggedFleet]) -> list[dict[str, object]]:
    return [asdict(fleet) for fleet in fleets]
