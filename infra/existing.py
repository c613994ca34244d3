"""Fleets of hosts that exist: written down with their keys, checked, forgotten again. Nothing on them is changed."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import NodeNotReady, PreflightError, UsageError
from . import fleet as fleets
from . import host_keys, readiness, ssh
from .blueprint import Blueprint
from .fleet import Fleet, Node
from .folder import FleetFolder, FleetLock
from .holder import refuse_if_held
from .hosts_file import EXAMPLE, Defaults, read
from .stack import Outcome
from .terraform import Plan
from .watcher import Limits, Watcher

_ASKABLE = frozenset({"cloud", "name", "gpus", "ssh_user"})
_USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
STATE_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Hosts:
    """Which hosts, and how their keys are known.

    Attributes:
        file: the file of hosts; None means those that are registered.
        known_hosts: where their keys are looked for; None means the user's own files.
        trust: keys that are not known are taken from the hosts themselves.
    """

    file: Path | None = None
    known_hosts: Path | None = None
    trust: bool = False


def nodes_of(given: Mapping[str, Any], hosts: Hosts, name: str, known: Fleet | None) -> tuple[Node, ...]:
    """The nodes that are asked for; raises UsageError for options that hosts cannot follow."""
    odd = sorted(set(given) - _ASKABLE)
    if odd:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in odd)
        raise UsageError(
            f"Hosts that exist cannot be asked for {options}.",
            fix="A fleet of them takes --hosts, --known-hosts, --trust-on-first-use, --gpus, --ssh-user and --name.",
        )
    if hosts.file is None:
        if known is None:
            raise UsageError("Which hosts?", fix=f"Add --hosts FILE, with lines such as\n{EXAMPLE}")
        return known.nodes
    user = given.get("ssh_user") or getpass.getuser()
    return read(hosts.file, Defaults(name, user, given.get("gpus", 0), _usual_key()))


def refuse_to_replace(name: str) -> None:
    """Raises UsageError: what mlb did not rent it cannot give back."""
    raise UsageError(
        "--replace-bad-nodes is not for hosts that exist.",
        why="mlb rents none of them, so it has no other machine to put in a bad one's place.",
        fix="Mend the host, or put another one into the file: "
        f"`mlb infra apply --name {name} --hosts FILE` registers what is in it.",
    )


def register(
    folder: FleetFolder,
    wanted: Blueprint,
    nodes: Sequence[Node],
    hosts: Hosts,
    limits: Limits,
    watcher: Watcher,
    *,
    force: bool = False,
) -> Outcome:
    """Write the hosts down with their keys and check each.

    Raises:
        PreflightError: a host key is not known; nothing was written.
        NodeNotReady: a host failed its checks; the fleet is there and says so.
        Locked: another command works on the fleet, or a run goes on there that would lose a host.
    """
    with FleetLock(folder, "apply").held(limits.lock_s):
        known = fleets.load(folder)
        plan = _plan(folder, known.nodes if known else (), nodes)
        if known and plan:
            refuse_if_held(folder, "changed", force=force)
        keys = _keys(folder, nodes, hosts, watcher)
        folder.create()
        ssh.write_known_hosts(folder, nodes, keys)
        blueprint = replace(wanted, spec=replace(wanted.spec, nodes=len(nodes)))
        fleet = Fleet(blueprint, "not-ready", tuple(nodes), usd_per_hour=0.0)
        fleet = fleet.changed(ledger=(fleet.charge(blueprint.created),)).save(folder)
        watcher.say(f"Waiting for {len(nodes)} hosts to answer")
        checks = readiness.check_all(folder, nodes, limits.ready_s, watcher.check)
        good = not any(check.problems for check in checks)
        said = tuple(check.to_json() for check in checks)
        fleet = fleet.changed(status="ready" if good else "not-ready", checks=said).save(folder)
        try:
            readiness.refuse_if_any_failed(checks)
        except NodeNotReady as error:
            again = f"Mend that, or take the host out of the file; `mlb infra apply --name {folder.name}` checks again."
            raise NodeNotReady(error.what, why=error.why, fix=again) from None
        return Outcome(fleet, plan)


def states(folder: FleetFolder, nodes: Sequence[Node]) -> dict[str, str]:
    """`running` for each host that lets us in now, by id; all are asked at once."""
    stop = threading.Event()

    def state(node: Node) -> str:
        answer = ssh.run(folder, node, "true", timeout_s=STATE_TIMEOUT_S, stop=stop)
        return "running" if answer.code == 0 else "no answer"

    with ThreadPoolExecutor(max_workers=min(readiness.MAX_PARALLEL, max(1, len(nodes)))) as pool:
        try:
            return dict(zip((node.id for node in nodes), pool.map(state, nodes), strict=True))
        finally:
            stop.set()


def forget(folder: FleetFolder, limits: Limits, *, force: bool = False) -> None:
    """Remove the record; the hosts are not even asked."""
    with FleetLock(folder, "destroy").held(limits.lock_s):
        if fleets.load(folder) is None:
            raise PreflightError(f"There is no fleet {folder.name} on this machine.")
        refuse_if_held(folder, "forgotten", force=force)
        folder.remove()


def _keys(folder: FleetFolder, nodes: Sequence[Node], hosts: Hosts, watcher: Watcher) -> dict[str, list[str]]:
    """What is pinned stays pinned; what is new is looked up, and taken from the host only if that was asked for."""
    keys = {node.name: ssh.pinned(folder, node) for node in nodes}
    new = [node for node in nodes if not keys[node.name]]
    files = [hosts.known_hosts] if hosts.known_hosts else host_keys.usual_files()
    keys |= host_keys.known(new, files)
    unknown = [node for node in new if not keys[node.name]]
    if unknown and hosts.trust:
        watcher.say(f"Asking {len(unknown)} hosts for their keys")
        keys |= host_keys.scanned(unknown, watcher.warn)
    host_keys.refuse_if_unknown(nodes, keys, files)
    return keys


def _plan(folder: FleetFolder, before: Sequence[Node], after: Sequence[Node]) -> Plan:
    """The difference, in Terraform's words where they fit."""
    old, new = {node.id: node for node in before}, {node.id: node for node in after}
    changes = [("create", node.name) for id_, node in new.items() if id_ not in old]
    changes += [("update", node.name) for id_, node in new.items() if id_ in old and old[id_] != node]
    changes += [("delete", node.name) for id_, node in old.items() if id_ not in new]
    return Plan(folder.plan_file, tuple(changes))


def _usual_key() -> str:
    there = (Path.home() / ".ssh" / name for name in _USUAL_KEYS)
    return next((str(path) for path in there if path.is_file()), "")
