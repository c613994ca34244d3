"""The network between nodes, measured before a run: round trip and bandwidth of pairs, and one all-reduce of all."""

from __future__ import annotations

import itertools
import json
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ..errors import MlbError, NodeUnfit
from ..results.text import how_it_ended, sanitise
from . import health_on_node
from .bootstrap import ReadyNode
from .fan_out import fan_out
from .ssh import SshTransport

_ALL_PAIRS = 6
"""Up to so many nodes every pair is measured."""
_PROBE_S = 60.0
_ALL_REDUCE_S = 180.0


@dataclass(frozen=True)
class Link:
    """What one node measured to another; both ends were busy with nothing else of ours."""

    a: str
    b: str
    rtt_s: float | None = None
    """The shortest of fifty round trips of one byte; None where the link does not work."""
    bits_per_s_out: float | None = None
    """One TCP connection from `a` to `b`."""
    bits_per_s_in: float | None = None
    """The same from `b` to `a`."""
    problem: str = ""


def pairs_of(names: Sequence[str], seed: int = 0) -> list[tuple[str, str]]:
    """Which pairs to measure: all of a few nodes; of many a ring, in which each has two, and as many at random."""
    everyone = list(itertools.combinations(names, 2))
    if len(names) <= _ALL_PAIRS:
        return everyone
    ring = [(names[i], names[i + 1]) for i in range(len(names) - 1)] + [(names[0], names[-1])]
    return ring + random.Random(seed).sample([p for p in everyone if p not in set(ring)], len(names))


def rounds_of(pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The pairs in rounds in which no node is busy twice."""
    rounds: list[list[tuple[str, str]]] = []
    for pair in pairs:
        free = next((r for r in rounds if not any(set(pair) & set(other) for other in r)), None)
        if free is None:
            rounds.append([pair])
        else:
            free.append(pair)
    return rounds


def measure(doors: Mapping[str, SshTransport], rounds: Sequence[Sequence[tuple[str, str]]] | None = None) -> list[Link]:
    """The links of the pairs in `rounds`, by default those of `pairs_of`; one that does not work has its problem."""
    rounds = rounds_of(pairs_of(list(doors))) if rounds is None else rounds
    token = secrets.token_hex(16)
    with ExitStack() as stack:
        servers = {
            name: door.begun("serve_links", {"address": door.node.private_ip, "token": token}, health_on_node)
            for name, door in doors.items()
        }
        entered = fan_out(servers, lambda server: int(server.__enter__()[1]["port"]))
        for name, port in entered.items():
            if not isinstance(port, MlbError):
                stack.push(servers[name])

        def probe(pair: tuple[str, str]) -> Link:
            port = entered[pair[1]]
            if isinstance(port, MlbError):
                return Link(*pair, problem=sanitise(port))
            request = {"host": doors[pair[1]].node.private_ip, "port": port, "token": token}
            try:
                said = doors[pair[0]].call("probe_link", request, health_on_node, timeout_s=_PROBE_S)
                return Link(*pair, float(said["rtt_s"]), float(said["bits_per_s_out"]), float(said["bits_per_s_in"]))
            except MlbError as error:
                return Link(*pair, problem=sanitise(error))
            except (KeyError, TypeError, ValueError) as error:
                return Link(*pair, problem=f"{pair[0]}'s answer makes no sense: {error!r}")

        measured = [fan_out({pair: pair for pair in these}, probe) for these in rounds]
    return [link for these in measured for link in these.values() if isinstance(link, Link)]


def measure_fairly(
    doors: Mapping[str, SshTransport], slow_ones: Callable[[Sequence[Link]], Sequence[Link]]
) -> list[Link]:
    """The links; those that look slow are measured a second time, each alone, and the faster of both counts.

    Other work on a node slows a link down for a moment; a link that is slow is slow twice.
    """
    links = measure(doors)
    slow = [(link.a, link.b) for link in slow_ones(links)]
    again = {(link.a, link.b): link for link in measure(doors, [[pair] for pair in slow])} if slow else {}
    return [max(link, again.get((link.a, link.b), link), key=speed_of) for link in links]


def speed_of(link: Link) -> float:
    """Bits per second in the slower direction; 0 where it does not work."""
    return min(link.bits_per_s_out or 0.0, link.bits_per_s_in or 0.0)


def all_reduce(
    doors: Mapping[str, SshTransport], ready: Mapping[str, ReadyNode], facts: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    """One all-reduce of all nodes, a rank each, by torch.distributed over the interfaces that a run would use.

    Raises:
        NodeUnfit: it failed; every node's last word is named.
    """
    argvs = all_reduce_argvs(ready, facts)
    done = fan_out(argvs, lambda item: doors[item[0]].run(item[1], timeout_s=_ALL_REDUCE_S))
    wrong: dict[str, str] = {}
    for name, result in done.items():
        if isinstance(result, MlbError):
            wrong[name] = sanitise(result)
        elif result.returncode != 0:
            last = (result.stderr.decode(errors="replace").splitlines() or ["it said nothing"])[-1]
            wrong[name] = f"{how_it_ended(result.returncode)}: {sanitise(last)}"
    if not wrong:
        first = next(iter(done.values()))
        try:
            return dict(json.loads(first.stdout.splitlines()[-1]))  # type: ignore[union-attr]  # no error: `wrong` is empty
        except (ValueError, IndexError, TypeError):
            wrong[next(iter(done))] = "its answer makes no sense"
    raise NodeUnfit(
        f"The nodes cannot do an all-reduce together: {len(wrong)} of {len(done)} ranks failed.",
        why="\n".join(f"  {name}: {text}" for name, text in wrong.items()),
    )


def all_reduce_argvs(
    ready: Mapping[str, ReadyNode], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[str, list[str]]]:
    """Node name -> the name again and the command of its rank."""
    first = next(iter(ready))
    backend = "nccl" if all(node.node.gpus for node in ready.values()) else "gloo"
    commands = {}
    for rank, (name, node) in enumerate(ready.items()):
        interface = facts[name]["interface"]
        variables = {
            "RANK": rank,
            "WORLD_SIZE": len(ready),
            "LOCAL_RANK": 0,
            "MASTER_ADDR": ready[first].node.private_ip,
            "MASTER_PORT": facts[first]["free_port"],
            "MLB_BACKEND": backend,
            "OMP_NUM_THREADS": 1,
            **({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}),
        }
        settings = [f"{key}={value}" for key, value in variables.items()]
        commands[name] = (name, ["env", *settings, node.python, "-P", "-m", "mlb.runners.all_reduce_probe"])
    return commands
