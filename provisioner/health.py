"""Are the nodes fit to be timed? What was measured is kept with the run; what is unfit is named, with evidence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MlbError, NodeUnfit
from ..results.run import write_json
from ..results.text import sanitise
from . import health_on_node
from .bootstrap import HOME, ReadyNode
from .fan_out import fan_out
from .health_gate import Limits, Problem, judge, judge_network, slow_links
from .links import Link, all_reduce, measure_fairly
from .ssh import SshTransport

SCHEMA_VERSION = 1
_EXAMINE_S = 120.0
_REMEMBERED_S = 900


@dataclass(frozen=True)
class Health:
    """What the nodes and their network were like before a run; the content of `health.json`."""

    checked_unix_ns: int
    skipped: bool = False
    """True where the user asked for no check: then nothing below says anything."""
    seconds: float = 0.0
    """How long the check took."""
    nodes: Mapping[str, Mapping[str, Any]] | None = None
    """Node name -> what it said (`health_on_node.examine`), with `clock_offset_s` and `clock_error_s`."""
    network_unix_ns: int = 0
    """When the two below were measured: with this check, or with an earlier one of the same machines."""
    links: tuple[Link, ...] = ()
    all_reduce: Mapping[str, Any] | None = None
    """What `runners.all_reduce_probe` measured; None for a single node."""
    problems: tuple[Problem, ...] = ()
    """Why nodes are unfit; empty where the run may begin."""
    warnings: tuple[Problem, ...] = ()
    """What a reader of the result should know."""
    schema_version: int = SCHEMA_VERSION

    @property
    def network(self) -> str:
        """What the all-reduce of all nodes went over, for people; empty where nobody knows."""
        return " and ".join(map(sanitise, (self.all_reduce or {}).get("networks", ())))


def skipped() -> Health:
    """The record of a check that was not made."""
    return Health(checked_unix_ns=time.time_ns(), skipped=True)


def check(
    doors: Mapping[str, SshTransport],
    ready: Mapping[str, ReadyNode],
    say: Callable[[str], None],
    limits: Limits | None = None,
    remembered: Path | None = None,
) -> Health:
    """Look at every node, then at the links between them, then let them do one all-reduce.

    The all-reduce is left out where the rest has found a node unfit already: it would only fail, slowly.

    Args:
        remembered: a file with this fleet's last check. Its network part is used again for a quarter of an hour while
            the machines are the same and were found fit: it takes seconds, a look at the nodes a round trip.
    """
    unix_ns, begun = time.time_ns(), time.monotonic()
    say(f"Checking the health of {len(doors)} nodes")
    said = fan_out(doors, _examine)
    facts = {name: answer for name, answer in said.items() if not isinstance(answer, MlbError)}
    known = _recall(remembered, unix_ns, facts) if remembered else None
    limits = limits or Limits()
    links = known.links if known else _links({name: doors[name] for name in facts}, limits)
    asked = {name: doors[name].node.gpus for name in facts}
    problems, warnings = judge(facts, asked, links, limits)
    problems += [Problem(name, sanitise(e)) for name, e in said.items() if isinstance(e, MlbError)]
    reduced = known.all_reduce if known else None
    if not problems and len(facts) > 1 and reduced is None:
        try:
            reduced = all_reduce(doors, ready, facts)
        except NodeUnfit as error:
            problems.append(Problem("", str(error)))
    unfit, notable = judge_network(reduced, limits)
    problems, warnings = [*problems, *unfit], [*warnings, *notable]
    took = round(time.monotonic() - begun, 3)
    network_ns = known.network_unix_ns if known else unix_ns
    health = Health(unix_ns, False, took, facts, network_ns, tuple(links), reduced, tuple(problems), tuple(warnings))
    if remembered:
        with suppress(OSError):  # the next check then takes its seconds
            write_json(remembered, health)
    return health


def refuse_if_unfit(health: Health) -> None:
    """Raises NodeUnfit, which names every node that is not fit, with the evidence."""
    if health.problems:
        names = sorted({problem.node for problem in health.problems if problem.node})
        raise NodeUnfit(
            f"The fleet is not fit to be timed{': ' + ', '.join(names) if names else ''}.",
            why="\n".join(f"{p.node}: {p.evidence}" if p.node else p.evidence for p in health.problems),
            fix="`mlb infra apply` replaces machines that are gone, with --replace-bad-nodes also those that fail its "
            "checks; --skip-health runs anyway and marks the result.",
        )


def _recall(file: Path, now_ns: int, facts: Mapping[str, Mapping[str, Any]]) -> Health | None:
    """The last check, if its network part still holds: recent, all fit, and no machine is new or was booted since."""
    try:
        raw = json.loads(file.read_text())
        boots = {name: node["boot_id"] for name, node in raw["nodes"].items()}
        stale = raw["schema_version"] != SCHEMA_VERSION or raw["problems"] or "networks" not in raw["all_reduce"]
        if stale or boots != {name: node["boot_id"] for name, node in facts.items()}:
            return None
        if not 0 <= now_ns - raw["network_unix_ns"] < _REMEMBERED_S * 1e9:
            return None
        links = tuple(Link(**link) for link in raw["links"])
        return Health(
            raw["checked_unix_ns"], network_unix_ns=raw["network_unix_ns"], links=links, all_reduce=raw["all_reduce"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _links(doors: Mapping[str, SshTransport], limits: Limits) -> Sequence[Link]:
    return measure_fairly(doors, lambda links: slow_links(links, limits)) if len(doors) > 1 else ()


def _examine(door: SshTransport) -> dict[str, Any]:
    request = {"home": str(HOME), "address": door.node.private_ip}
    said = door.call("examine", request, health_on_node, timeout_s=_EXAMINE_S)
    clock = door.clock()
    try:
        facts = {**said, "clock_offset_s": clock.offset_s, "clock_error_s": clock.error_s}
        whole = ("disk_free_bytes", "shm_free_bytes", "mtu", "cores", "free_port")
        real = ("load_1min", "busy_cores")
        return {**facts, **{key: int(facts[key]) for key in whole}, **{key: float(facts[key]) for key in real}}
    except (KeyError, TypeError, ValueError) as error:
        raise NodeUnfit(f"The answer of {door.node.name} makes no sense.", why=f"examine: {error!r}") from None
