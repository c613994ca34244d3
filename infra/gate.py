"""From machines that were made to nodes that count as ready: host keys pinned, and each node's own answer judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import NodeNotReady
from . import readiness, ssh
from .cloud import Cloud
from .fleet import Fleet, Node
from .folder import FleetFolder
from .readiness import Check
from .terraform import Plan, Terraform
from .watcher import Limits, Watcher


@dataclass(frozen=True)
class Checked:
    """A fleet whose nodes were asked.

    Attributes:
        plan: what was changed for it.
        note: what else must be known of nodes that are not ready; may be empty.
    """

    fleet: Fleet
    checks: tuple[Check, ...]
    plan: Plan
    note: str = ""

    @property
    def bad(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.problems)

    @property
    def all_bad(self) -> bool:
        """Whether all of several nodes are: a clock that is wrong here, a door for another address, an image without
        a driver. New machines would fail as the old ones do, and all that lies on those would be lost."""
        return len(self.bad) == len(self.checks) > 1


@dataclass(frozen=True)
class Gate:
    """What every node of a fleet goes through; `terraform` knows which machines there are."""

    folder: FleetFolder
    cloud: Cloud
    limits: Limits
    watcher: Watcher
    terraform: Callable[[], Terraform]

    def check(self, fleet: Fleet, plan: Plan, passed: Sequence[Check] = ()) -> Checked:
        """Ask all nodes but those that `passed` a moment ago; the record says what came of it.

        Raises:
            NodeNotReady: Terraform knows of another number of nodes. A node that fails raises nothing here.
        """
        nodes = self._nodes(fleet)
        # A Docker node's image is built from the base that the spec names; a cloud's image is pinned as it was found.
        image = nodes[0].image if nodes and fleet.blueprint.machine else None
        blueprint = replace(fleet.blueprint, image_id=fleet.blueprint.image_id or image)
        fleet = fleet.changed(blueprint=blueprint, nodes=nodes, status="not-ready").save(self.folder)
        known = {check.node: check for check in (*passed, *self._pin(nodes, plan))}
        asked = [node for node in nodes if node.name not in known]
        self.watcher.say(f"Waiting for {len(asked)} nodes to answer")
        ends = blueprint.expires_epoch if blueprint.ends_itself else None
        said = readiness.check_all(self.folder, asked, self.limits.ready_s, self.watcher.check, ends_epoch=ends)
        known |= {check.node: check for check in said}
        done = Checked(fleet, tuple(known[node.name] for node in nodes), plan)
        status = "not-ready" if done.bad else "ready"
        fleet = fleet.changed(status=status, checks=tuple(check.to_json() for check in done.checks))
        return replace(done, fleet=fleet.save(self.folder))

    def _nodes(self, fleet: Fleet) -> tuple[Node, ...]:
        nodes = tuple(Node.from_json(node) for node in self.terraform().output("nodes") or [])
        if len(nodes) != fleet.blueprint.spec.nodes:
            raise NodeNotReady(f"Terraform's state shows {len(nodes)} nodes, not {fleet.blueprint.spec.nodes}.")
        return nodes

    def _pin(self, nodes: Sequence[Node], plan: Plan) -> list[Check]:
        """Pin the nodes' host keys; gives what is to be said of those that show none, and can't be asked anything."""
        new = _indexes(plan)
        keys: dict[str, Sequence[str]] = {
            n.name: ssh.pinned(self.folder, n) for i, n in enumerate(nodes) if i not in new
        }
        unknown = [node for node in nodes if not keys.get(node.name)]
        found: Mapping[str, Sequence[str]] = {}
        if unknown:
            self.watcher.say(f"Asking for the host keys of {len(unknown)} nodes")
            found = self.cloud.host_keys(unknown, self.limits.ready_s)
        ssh.write_known_hosts(self.folder, nodes, {**keys, **found})
        silent = [node for node in unknown if not found.get(node.name)]
        checks = [Check(node.name, (self.cloud.no_host_key,), self.limits.ready_s) for node in silent]
        for check in checks:
            self.watcher.check(check)
        return checks


def _indexes(plan: Plan) -> set[int]:
    """The nodes that the plan makes anew."""
    found = (re.search(r'\.node\["?(\d+)"?\]$', address) for action, address in plan.changes if action != "update")
    return {int(match.group(1)) for match in found if match}
