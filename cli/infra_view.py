"""What `mlb infra` prints: text from the values of the infra room, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ..infra.cloud import TaggedFleet
from ..infra.fleet import Fleet
from ..infra.quote import WEEKEND_H, Offer, Quote, dollars
from ..infra.status import FleetStatus
from ..infra.terraform import Plan
from ..results.cost import at_most
from ..results.ledger import is_ceiling

_UNTRIED = (
    "This version of mlb has been tested against a stand-in for {} only, never on a real account.\n"
    "It rents machines that cost money; look at the account's console before and after."
)
UNTRIED = {"aws": _UNTRIED.format("AWS"), "gcp": _UNTRIED.format("Google Cloud")}


def quote_text(quote: Quote) -> str:
    """The quote as a user reads it before saying yes."""
    spec, chosen = quote.spec, quote.chosen
    if chosen is None:
        what = "hosts" if spec.cloud == "ssh" else "nodes"
        free = f"{spec.nodes} {spec.cloud} {what}: nothing is rented, nothing is billed."
        return "\n".join([free, *(f"  ! {warning}" for warning in quote.warnings)])
    ttl, weekend = _money(quote.for_ttl, chosen.bound), _money(quote.for_weekend, chosen.bound)
    lines = [
        f"{spec.nodes} x {_machine(chosen)} in {chosen.region}{' (spot)' if spec.spot else ''}",
        "",
        f"  per hour            {_money(quote.per_hour, chosen.bound)}   {_node_price(chosen)}",
        f"  {f'for the TTL, {_hours(spec.ttl_s)}':<20}{ttl}   then the nodes end by themselves",
        f"  forgotten weekend   {weekend}   {WEEKEND_H} h, if nothing ended them",
    ]
    if chosen.source:
        lines.append(f"  price of            {chosen.dated or 'an unknown day'}, {chosen.source}")
        if quote.disk:
            lines.append(f"  price of disks      {quote.disk.dated}, {quote.disk.source}")
        lines.append("                      list prices in US dollars, without traffic and public addresses")
    if quote.network:
        lines.append(f"  network             {quote.network}")
    if quote.warnings:
        lines += ["", *(f"  ! {warning}" for warning in quote.warnings)]
    if quote.alternatives:
        lines += ["", "Alternatives", *_offer_rows(quote.alternatives)]
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns, two blanks apart; the first row is the heading."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _offer_rows(offers: Sequence[Offer]) -> list[str]:
    rows = [["  machine", "GPUs used", "per node", "fleet/h", "note"]]
    for o in offers:
        used = f"{o.machine.gpus - o.idle_gpus} of {o.machine.gpus} {o.machine.gpu}" if o.machine.gpus else "none"
        rows.append([f"  {o.machine.id}", used, dollars(o.per_node), dollars(o.per_hour), o.note])
    return table(rows)


def _machine(offer: Offer) -> str:
    m = offer.machine
    gpus = f"{m.gpus} x {m.gpu} {round(m.gpu_mib / 1024)} GiB, " if m.gpus else ""
    return f"{m.id} ({gpus}{m.vcpus} vCPUs, {m.gib} GiB)"


def _node_price(offer: Offer) -> str:
    if offer.per_node is None:
        return offer.note
    disk = f", and {dollars(offer.disk_per_node)} for its disk" if offer.disk_per_node is not None else ""
    return f"{dollars(offer.per_node)} per node{disk}"


def _money(value: Decimal | None, bound: bool) -> str:
    return (f"{'<= ' if bound and value is not None else ''}{dollars(value)}").ljust(12)


def _hours(seconds: int) -> str:
    return f"{seconds / 3600:g} h"


FLEET_HEADERS = ("fleet", "cloud", "where", "nodes", "status", "per hour", "ends")
TAGGED_HEADERS = ("fleet", "id", "owner", "region", "resources", "ends")


def plan_text(plan: Plan) -> str:
    """`14 to create, 0 to change, 0 to destroy`."""
    create = plan.count("create", "replace")
    destroy = plan.count("delete", "replace")
    return f"Plan: {create} to create, {plan.count('update')} to change, {destroy} to destroy."


def plan_json(plan: Plan) -> list[dict[str, str]]:
    """The changes one by one."""
    return [{"action": action, "resource": address} for action, address in plan.changes]


def fleet_text(fleet: Fleet, *, changed: bool) -> str:
    """What `apply` ends with."""
    spec = fleet.blueprint.spec
    where = f" in {fleet.blueprint.zone}" if fleet.blueprint.zone else ""
    lines = [
        f"Fleet {fleet.name}: {len(fleet.nodes)} nodes{where}, {fleet.status}."
        + ("" if changed else " No changes: it was as asked for."),
        *table([["  node", "address", "port", "GPUs"], *_node_rows(fleet)]),
        f"{_end_of(fleet)} mlb infra destroy --name {spec.name}",
    ]
    if fleet.attempts:
        lines += [
            "Zones that could not serve:",
            *(f"  {a.zone}: {a.outcome} ({a.seconds:g} s)" for a in fleet.attempts),
        ]
    if fleet.replaced:
        lines += [
            "Machines that were replaced:",
            *(f"  {r.node} ({r.id}) at {r.at}: {'; '.join(r.problems)}" for r in fleet.replaced),
        ]
    return "\n".join(lines)


def _end_of(fleet: Fleet) -> str:
    if not fleet.blueprint.is_rented:
        return "Its hosts go on by themselves; to forget them:"
    return f"It ends by itself at {fleet.blueprint.expires_at}. Before that:"


def status_text(status: FleetStatus, now: float) -> str:
    """The record beside what is there."""
    fleet = status.fleet
    rows = [["  node", "id", "address", "state"], *([f"  {n.name}", n.id, n.ssh_host, n.state] for n in status.nodes)]
    where = " ".join(filter(None, (fleet.blueprint.spec.cloud, fleet.blueprint.zone)))
    lines = [
        f"Fleet {fleet.name} ({where}): {fleet.status}, {_ends_of(fleet, now)}",
        *table(rows),
    ]
    if fleet.usd_per_hour_now:
        lines.append(_cost_of(fleet, now))
    if status.drifted:
        lines.append(f"It is not as it was made; `mlb infra apply --name {fleet.name}` repairs it.")
    return "\n".join(lines)


def _cost_of(fleet: Fleet, now: float) -> str:
    rate = f"{at_most(fleet.is_ceiling_now)}${fleet.usd_per_hour_now:.2f} per hour"
    spent = fleet.usd_so_far(now)
    if spent is None:
        return f"{rate}; what it has cost so far is not known"
    return f"{rate}; {at_most(is_ceiling(fleet.ledger)) or 'about '}${spent:.2f} so far, at list price"


def status_json(status: FleetStatus) -> dict[str, object]:
    states = {node.name: node.state for node in status.nodes}
    return {**status.fleet.to_json(), "states": states, "drifted": status.drifted}


def fleet_rows(fleets: Sequence[Fleet], current: str | None, now: float) -> list[tuple[str, ...]]:
    return [
        (
            f"{fleet.name}{' (current)' if fleet.name == current else ''}",
            fleet.blueprint.spec.cloud,
            fleet.blueprint.zone,
            str(len(fleet.nodes)),
            fleet.status,
            "-" if (rate := fleet.usd_per_hour_now) is None else f"{at_most(fleet.is_ceiling_now)}${rate:.2f}",
            _ends_of(fleet, now),
        )
        for fleet in fleets
    ]


def tagged_rows(fleets: Sequence[TaggedFleet], now: float) -> list[tuple[str, ...]]:
    return [
        (
            f.name,
            f.fleet_id,
            f.owner,
            f.region,
            str(f.resources),
            _ends(f.expires_epoch, now) if f.expires_epoch else "?",
        )
        for f in fleets
    ]


def _node_rows(fleet: Fleet) -> list[list[str]]:
    return [[f"  {n.name}", n.ssh_host, str(n.ssh_port), str(n.gpus)] for n in fleet.nodes]


def _ends_of(fleet: Fleet, now: float) -> str:
    return _ends(fleet.blueprint.expires_epoch, now) if fleet.blueprint.is_rented else "not ended by mlb"


def _ends(epoch: int, now: float) -> str:
    minutes = round((epoch - now) / 60)
    return f"ends in {minutes // 60} h {minutes % 60} min" if minutes > 0 else f"ended {-minutes} min ago"
