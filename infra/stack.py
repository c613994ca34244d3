"""One fleet from its spec to machines that answer, and back to nothing.

The order that keeps money safe: the record is written before the first machine is asked for, a plan is applied only
as it was shown, a zone that fails is emptied before the next is tried, and nothing is called gone before the place
itself says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ..errors import CapacityError, Interrupted, MlbError, PreflightError, ProvisionFailed
from . import fleet as fleets
from . import readiness, ssh
from .blueprint import Blueprint
from .cloud import Cloud
from .engine import Engine, find_engine
from .failures import kind_of
from .fleet import Attempt, Fleet, Node
from .folder import FleetFolder, FleetLock, write_private
from .quote import Quote
from .readiness import Check
from .render import render
from .teardown import Teardown
from .terraform import Event, Plan, Terraform, TerraformFailed


@dataclass(frozen=True)
class Limits:
    """How long each step may take, in seconds."""

    apply_s: float = 900.0
    destroy_s: float = 900.0
    ready_s: float = 900.0
    lock_s: float = 0.0


@dataclass(frozen=True)
class Watcher:
    """What the outside is told, and asked.

    Attributes:
        say: one line about the step that begins.
        event: Terraform's own events.
        check: a node's check, as it comes in.
        confirm: the quote and the plan; False ends it with nothing created.
    """

    say: Callable[[str], None] = lambda _: None
    event: Callable[[Event], None] = lambda _: None
    check: Callable[[Check], None] = lambda _: None
    confirm: Callable[[Quote, Plan], bool] = lambda _quote, _plan: True


@dataclass(frozen=True)
class Outcome:
    """What `apply` came to; `plan` is empty when there was nothing to do."""

    fleet: Fleet
    plan: Plan


@dataclass
class Stack:
    """One fleet on this machine. Every public method holds the fleet's lock while it works."""

    folder: FleetFolder
    cloud: Cloud
    limits: Limits = field(default_factory=Limits)
    watcher: Watcher = field(default_factory=Watcher)
    engine: Engine | None = None
    _lock: FleetLock | None = None

    def apply(self, wanted: Blueprint, quote: Quote) -> Outcome:
        """Make the fleet as it is wanted, or leave nothing behind.

        Raises:
            PreflightError, CapacityError, ProvisionFailed, NodeNotReady, TeardownIncomplete, Locked, Interrupted.
        """
        with self._locked("apply"):
            known = fleets.load(self.folder)
            self.watcher.say("Looking at the account, its quotas and its zones")
            adding = wanted.spec.nodes - (len(known.nodes) if known else 0)
            place = self.cloud.preflight(wanted, adding)
            self.engine = self.engine or find_engine()
            self.folder.create()
            wanted = replace(wanted, account=place.account, public_key=ssh.make_key(self.folder))
            wanted = self.cloud.prepare(wanted)
            price = None if quote.per_hour is None else float(quote.per_hour)
            source = quote.chosen.source if quote.chosen else ""
            fleet = Fleet(wanted, "creating", usd_per_hour=price, price_source=source)
            if known and known.status != "creating":
                return self._change(replace(fleet, nodes=known.nodes, status=known.status), known, quote)
            # A creation that was cut short goes on in its own zone: what there is of it is there.
            first = [known.blueprint.zone] if known else []
            zones = list(dict.fromkeys([*first, *place.zones]))
            return self._create(fleet, zones, quote)

    def plan(self, wanted: Blueprint) -> Plan:
        """What `apply` would do in the first zone; writes nothing but the module."""
        with self._locked("plan"):
            known = fleets.load(self.folder)
            place = self.cloud.preflight(wanted, wanted.spec.nodes)
            self.engine = self.engine or find_engine()
            self.folder.create()
            wanted = replace(wanted, account=place.account, public_key=ssh.make_key(self.folder))
            zone = known.blueprint.zone if known else place.zones[0]
            made = self._plan(self.cloud.prepare(wanted.at(zone)))
            if known is None:
                self.folder.remove()
            return made

    def destroy(self) -> Teardown:
        """Remove everything of the fleet and its record; raises TeardownIncomplete with what is left."""
        with self._locked("destroy"):
            known = fleets.load(self.folder)
            if known is None:
                raise PreflightError(
                    f"There is no fleet {self.folder.name} on this machine.", fix="`mlb infra ls` lists them."
                )
            known.changed(status="destroying").save(self.folder)
            done = self._teardown(known)
            self.folder.remove()
            return done

    def _create(self, fleet: Fleet, zones: Sequence[str], quote: Quote) -> Outcome:
        attempts: list[Attempt] = []
        for zone in zones:
            here = fleet.changed(blueprint=fleet.blueprint.at(zone), attempts=tuple(attempts)).save(self.folder)
            begun = time.monotonic()
            try:
                plan = self._converge(here.blueprint, quote if not attempts else None)
                return self._ready(here, plan)
            except TerraformFailed as error:
                self.watcher.say(f"{zone or 'Docker'} cannot serve the fleet; removing what was begun")
                self._teardown(here)
                attempts.append(Attempt(zone, _short(error), round(time.monotonic() - begun, 1)))
                if kind_of(error.problems, timed_out=error.timed_out) != "capacity":
                    self.folder.remove()
                    raise _provision_failed(error) from None
            except (KeyboardInterrupt, Interrupted):
                self.watcher.say("Stopped; removing what was begun")
                self._teardown(here)
                self.folder.remove()
                raise Interrupted("Stopped. Nothing of the fleet is left.") from None
        self.folder.remove()
        raise _no_capacity(attempts)

    def _change(self, fleet: Fleet, known: Fleet, quote: Quote) -> Outcome:
        """Change a fleet that works; when that fails it is put back to what it was."""
        here = fleet.changed(blueprint=fleet.blueprint.at(known.blueprint.zone), attempts=known.attempts)
        try:
            plan = self._converge(here.blueprint, quote)
        except (TerraformFailed, KeyboardInterrupt) as error:
            self.watcher.say("That failed; putting the fleet back to what it was")
            self._put_back(known)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted("Stopped. The fleet is as it was.") from None
            if kind_of(error.problems, timed_out=error.timed_out) == "capacity":
                raise _no_capacity([Attempt(known.blueprint.zone, _short(error), 0.0)]) from None
            raise _provision_failed(error) from None
        try:
            return self._ready(here, plan)
        except KeyboardInterrupt:
            raise Interrupted("Stopped before all nodes were checked.", fix="`mlb infra apply` checks them.") from None

    def _put_back(self, known: Fleet) -> None:
        try:
            self._converge(known.blueprint, None)
        except (TerraformFailed, KeyboardInterrupt) as error:
            known.changed(status="not-ready").save(self.folder)
            raise ProvisionFailed(
                "The fleet could neither be changed nor put back.",
                why=str(error),
                fix=f"It is kept and is billed; `mlb infra destroy --name {self.folder.name}` ends it.",
            ) from None

    def _plan(self, blueprint: Blueprint) -> Plan:
        exists = (self.folder.module / "terraform.tfstate").exists()
        replaced = self.cloud.lost(blueprint) if exists else ()
        terraform = self.write_module(blueprint)
        terraform.init()
        parallel = _parallelism(blueprint)
        limit = self.limits.apply_s
        return terraform.plan(self.folder.plan_file, deadline_s=limit, parallelism=parallel, replace=replaced)

    def _converge(self, blueprint: Blueprint, quote: Quote | None) -> Plan:
        """Plan, ask if there is a quote to show, apply."""
        self.watcher.say(f"Planning {blueprint.spec.nodes} nodes {f'in {blueprint.zone}' if blueprint.zone else ''}")
        plan = self._plan(blueprint)
        if not plan:
            return plan
        if quote is not None and not self.watcher.confirm(quote, plan):
            raise Interrupted("Not confirmed.")
        self.watcher.say("Applying the plan")
        self.terraform().apply(plan, deadline_s=self.limits.apply_s, parallelism=_parallelism(blueprint))
        return plan

    def _ready(self, fleet: Fleet, plan: Plan) -> Outcome:
        """The nodes as Terraform knows them, their host keys as the place knows them, and what they say."""
        raw = self.terraform().output("nodes") or []
        nodes = tuple(Node.from_json(node) for node in raw)
        # A Docker node's image is built from the base that the spec names; a cloud's image is pinned as it was found.
        image = nodes[0].image if nodes and fleet.blueprint.machine else None
        blueprint = replace(fleet.blueprint, image_id=fleet.blueprint.image_id or image)
        fleet = fleet.changed(blueprint=blueprint, nodes=nodes, status="not-ready").save(self.folder)
        self._pin(nodes, plan)
        self.watcher.say(f"Waiting for {len(nodes)} nodes to answer")
        checks = readiness.check_all(self.folder, nodes, self.limits.ready_s, self.watcher.check)
        good = not any(check.problems for check in checks)
        fleet = fleet.changed(status="ready" if good else "not-ready", checks=tuple(c.to_json() for c in checks))
        fleet.save(self.folder)
        readiness.refuse_if_any_failed(checks)
        return Outcome(fleet, plan)

    def _pin(self, nodes: Sequence[Node], plan: Plan) -> None:
        new = _indexes(plan)
        keys = {n.name: ssh.pinned(self.folder, n) for i, n in enumerate(nodes) if i not in new}
        unknown = [node for node in nodes if not keys.get(node.name)]
        if unknown:
            self.watcher.say(f"Asking for the host keys of {len(unknown)} nodes")
            keys |= {name: list(k) for name, k in self.cloud.host_keys(unknown, self.limits.ready_s).items()}
        ssh.write_known_hosts(self.folder, nodes, keys)

    def _teardown(self, fleet: Fleet) -> Teardown:
        blueprint = fleet.blueprint

        def by_terraform() -> None:
            limit, parallel = self.limits.destroy_s, _parallelism(blueprint)
            self.terraform().destroy(self.folder.plan_file, deadline_s=limit, parallelism=parallel)

        has_state = (self.folder.module / "terraform.tfstate").exists()
        done = Teardown(self.cloud, blueprint, self.folder, self.watcher.say, fleet.usd_per_hour)
        return done.run(by_terraform if has_state else None)

    def terraform(self) -> Terraform:
        """Terraform in the fleet's module, with the lock in its hands."""
        self.engine = self.engine or find_engine()
        lock = self._lock
        return Terraform(
            self.folder.module,
            self.engine,
            on_event=self.watcher.event,
            on_start=lock.started if lock else lambda _: None,
            keep_fds=(lock.fd,) if lock else (),
        )

    def write_module(self, blueprint: Blueprint) -> Terraform:
        for name, text in render(blueprint, int(time.time())).items():
            write_private(self.folder.module / name, text)
        return self.terraform()

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        with FleetLock(self.folder, what).held(self.limits.lock_s) as lock:
            self._lock = lock
            try:
                yield
            finally:
                self._lock = None


def _parallelism(blueprint: Blueprint) -> int:
    """A fleet of 64 takes 80 s with Terraform's default of 10, 22 s with 64; more would only meet rate limits."""
    return min(64, max(10, blueprint.spec.nodes))


def _indexes(plan: Plan) -> set[int]:
    """The nodes that the plan makes anew."""
    found = (re.search(r'\.node\["?(\d+)"?\]$', address) for action, address in plan.changes if action != "update")
    return {int(match.group(1)) for match in found if match}


def _short(error: TerraformFailed) -> str:
    if error.timed_out:
        return "no answer before the deadline"
    return (error.problems[0] if error.problems else error.what)[:300]


def _provision_failed(error: TerraformFailed) -> MlbError:
    kind = kind_of(error.problems, timed_out=error.timed_out)
    hints = {
        "quota": "Ask the cloud for a higher quota, or use fewer or other machines.",
        "credentials": "Renew your credentials and try again.",
    }
    why = "\n".join(error.problems)
    return ProvisionFailed("The fleet could not be created; nothing of it is left.", why=why, fix=hints.get(kind, ""))


def _no_capacity(attempts: Sequence[Attempt]) -> CapacityError:
    lines = [f"{a.zone}: {a.outcome} ({a.seconds:g} s)" for a in attempts]
    return CapacityError(
        "No zone has the machines.",
        why="\n".join(lines),
        fix="Try another --region, another --gpu-type, fewer --nodes, or --spot.",
    )
