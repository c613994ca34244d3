"""What `mlb infra` prints: text from the values of the infra room, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ..infra.quote import WEEKEND_H, Offer, Quote, dollars


def quote_text(quote: Quote) -> str:
    """The quote as a user reads it before saying yes."""
    spec, chosen = quote.spec, quote.chosen
    if chosen is None:
        return f"{spec.nodes} {spec.cloud} nodes: nothing is rented, nothing is billed."
    ttl, weekend = _money(quote.for_ttl, chosen.bound), _money(quote.for_weekend, chosen.bound)
    lines = [
        f"{spec.nodes} x {_machine(chosen)} in {chosen.region}{' (spot)' if spec.spot else ''}",
        "",
        f"  per hour            {_money(quote.per_hour, chosen.bound)}   {_node_price(chosen)}",
        f"  {f'for the TTL, {_hours(spec.ttl_s)}':<20}{ttl}   then the nodes end by themselves",
        f"  forgotten weekend   {weekend}   {WEEKEND_H} h, if nothing ended them",
        f"  price of            {chosen.dated or 'an unknown day'}, {chosen.source or 'no source'}",
        "                      list price in US dollars, without disks and traffic",
    ]
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
    return f"{dollars(offer.per_node)} per node" if offer.per_node is not None else offer.note


def _money(value: Decimal | None, bound: bool) -> str:
    return (f"{'<= ' if bound and value is not None else ''}{dollars(value)}").ljust(12)


def _hours(seconds: int) -> str:
    return f"{seconds / 3600:g} h"
