"""One fleet from its spec to machines that answer, and back to nothing.

The order that keeps money safe: the record is written before the first machine is asked for, a plan is applied only
as it was shown, a zone that fails is emptied before the next is tried, and nothing is called gone before the place
itself says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from ..errors import (
    CapacityError,
    DiskFull,
    Interrupted,
    Locked,
    MlbError,
    NodeNotReady,
    PreflightError,
    ProvisionFailed,
)
from . import booking, ssh
from . import fleet as fleets
from .bad_nodes import BadNodes
from .blueprint import Blueprint
from .cloud import Cloud, Place
from .engine import Engine, find_engine, refuse_without_locks
from .failures import goes_on, kind_of, no_capacity, provision_failed, short
from .fleet import Attempt, Fleet
from .folder import NEEDED_BYTES, FleetFolder, FleetLock, refuse_if_full, refuse_if_state_lost, write_private
from .gate import Gate
from .holder import refuse_if_held
from .quote import Quote
from .readiness import refuse_if_any_failed
from .render import render
from .teardown import Teardown
from .terraform import Plan, Terraform, TerraformFailed, parallelism
from .watcher import Limits, Watcher


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

    def apply(self, wanted: Blueprint, quote: Quote, *, force: bool = False, replace_bad: bool = False) -> Outcome:
        """Make the fleet as it is wanted, or leave nothing behind.

        Args:
            force: although a run uses it.
            replace_bad: put other machines in the place of nodes that fail their checks.

        Raises:
            PreflightError, CapacityError, ProvisionFailed, NodeNotReady, TeardownIncomplete, Locked, Interrupted.
        """
        with self._locked("apply"):
            known = fleets.load(self.folder)
            if known and known.blueprint.fleet_id != wanted.fleet_id:
                raise Locked(
                    f"Another command made the fleet {self.folder.name} in the meantime.",
                    fix="Run this one again: it goes on from what there is.",
                )
            if known and (replace_bad or known.blueprint.spec.nodes != wanted.spec.nodes):
                refuse_if_held(self.folder, "changed", force=force)
            self.watcher.say("Looking at the account, its quotas and its zones")
            adding = wanted.spec.nodes - (len(known.nodes) if known else 0)
            place = self._preflight(wanted, adding)
            self._prepare(wanted)
            wanted = replace(wanted, account=place.account, public_key=ssh.make_key(self.folder))
            wanted = self.cloud.prepare(wanted)
            price = None if quote.per_hour is None else float(quote.per_hour)
            fleet = Fleet(
                wanted,
                "creating",
                usd_per_hour=price,
                price_source=quote.chosen.source if quote.chosen else "",
                price_is_ceiling=bool(quote.chosen and quote.chosen.bound),
                ledger=known.ledger if known else (),
            )
            if known and known.status != "creating":
                refuse_if_state_lost(self.folder)
                return self._change(fleet, known, quote, replace_bad=replace_bad)
            # A creation that was cut short goes on in its own zone: what there is of it is there.
            first = [known.blueprint.zone] if known else []
            zones = list(dict.fromkeys([*first, *place.zones]))
            return self._create(fleet, zones, quote, replace_bad=replace_bad)

    def plan(self, wanted: Blueprint) -> Plan:
        """What `apply` would do in the first zone; writes nothing but the module."""
        with self._locked("plan"):
            known = fleets.load(self.folder)
            place = self._preflight(wanted, wanted.spec.nodes)
            self._prepare(wanted)
            wanted = replace(wanted, account=place.account, public_key=ssh.make_key(self.folder))
            zone = known.blueprint.zone if known else place.zones[0]
            made = self._plan(self.cloud.prepare(wanted.at(zone)))
            if known is None:
                self.folder.remove()
            return made

    def destroy(self, *, force: bool = False) -> Teardown:
        """Remove everything of the fleet and its record; raises TeardownIncomplete with what is left.

        Raises Locked while a run uses the fleet, unless by `force`.
        """
        with self._locked("destroy"):
            known = fleets.load(self.folder)
            if known is None:
                raise PreflightError(
                    f"There is no fleet {self.folder.name} on this machine.", fix="`mlb infra ls` lists them."
                )
            refuse_if_held(self.folder, "destroyed", force=force)
            with suppress(DiskFull):  # a full disk must not keep a fleet alive
                known.changed(status="destroying").save(self.folder)
            done = self._teardown(known)
            self.folder.remove()
            return done

    def _create(self, fleet: Fleet, zones: Sequence[str], quote: Quote, *, replace_bad: bool) -> Outcome:
        attempts: list[Attempt] = []
        for zone in zones:
            here = fleet.changed(blueprint=fleet.blueprint.at(zone), attempts=tuple(attempts)).save(self.folder)
            begun = time.monotonic()
            try:
                self.folder.claim_current()
                plan = self._converge(here, quote if not attempts else None)
                return self._ready(here, plan, replace_bad=replace_bad)
            except TerraformFailed as error:
                self.watcher.say(f"{zone or 'Docker'} cannot serve the fleet; removing what was begun")
                self._teardown(here)
                fleet = booking.end(self.folder, fleet)
                attempts.append(Attempt(zone, short(error), round(time.monotonic() - begun, 1)))
                if kind_of(error.problems, timed_out=error.timed_out) != "capacity":
                    self.folder.remove()
                    raise provision_failed(error) from None
            except (KeyboardInterrupt, Interrupted):
                self.watcher.say("Stopped; removing what was begun")
                self._teardown(here)
                self.folder.remove()
                raise Interrupted("Stopped. Nothing of the fleet is left.") from None
            except NodeNotReady:
                raise
            except Exception:
                # Whatever it is, machines may have been asked for.
                self.watcher.say("That failed; removing what was begun")
                self._teardown(here)
                self.folder.remove()
                raise
        self.folder.remove()
        raise no_capacity(attempts)

    def _change(self, fleet: Fleet, known: Fleet, quote: Quote, *, replace_bad: bool) -> Outcome:
        """Change a fleet that works; when that fails it is put back to what it was."""
        history = {"nodes": known.nodes, "status": known.status, "attempts": known.attempts, "replaced": known.replaced}
        here = fleet.changed(blueprint=fleet.blueprint.at(known.blueprint.zone), **history)
        try:
            plan = self._converge(here, quote)
        except (TerraformFailed, KeyboardInterrupt) as error:
            self.watcher.say("That failed; putting the fleet back to what it was")
            self._put_back(known)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted("Stopped. The fleet is as it was.", fix=goes_on(known)) from None
            as_before = f"The fleet is as it was. {goes_on(known)}"
            if kind_of(error.problems, timed_out=error.timed_out) == "capacity":
                zone = known.blueprint.zone
                raise CapacityError(
                    f"{zone or 'Docker'} has no more machines.", why=short(error), fix=as_before
                ) from None
            why = "\n".join(error.problems)
            raise ProvisionFailed("The fleet could not be changed.", why=why, fix=as_before) from None
        try:
            return self._ready(here, plan, replace_bad=replace_bad)
        except KeyboardInterrupt:
            raise Interrupted("Stopped before all nodes were checked.", fix=goes_on(fleet)) from None

    def _put_back(self, known: Fleet) -> None:
        try:
            self._converge(known, None)
        except (MlbError, KeyboardInterrupt) as error:
            with suppress(DiskFull):
                known.changed(status="not-ready", ledger=booking.booked(self.folder)).save(self.folder)
            raise ProvisionFailed(
                "The fleet could neither be changed nor put back.", why=str(error), fix=goes_on(known)
            ) from None
        with suppress(DiskFull):  # it then stays at the price of what was asked for: too much, never too little
            booking.settle(self.folder, known).save(self.folder)

    def _plan(self, blueprint: Blueprint, bad: Sequence[str] = ()) -> Plan:
        lost = self.cloud.lost(blueprint) if self.folder.has_state else ()
        replaced = list(dict.fromkeys([*bad, *lost]))
        terraform = self.write_module(blueprint)
        terraform.init()
        parallel = parallelism(blueprint.spec.nodes)
        limit = self.limits.apply_s
        return terraform.plan(self.folder.plan_file, deadline_s=limit, parallelism=parallel, replace=replaced)

    def _converge(self, fleet: Fleet, quote: Quote | None) -> Plan:
        """Plan, ask if there is a quote to show, apply."""
        blueprint = fleet.blueprint
        self.watcher.say(f"Planning {blueprint.spec.nodes} nodes {f'in {blueprint.zone}' if blueprint.zone else ''}")
        plan = self._plan(blueprint)
        if not plan:
            return plan
        if quote is not None and not self.watcher.confirm(quote, plan):
            raise Interrupted("Not confirmed.")
        booking.begin(self.folder, fleet)
        self._apply(blueprint, plan)
        return plan

    def _apply(self, blueprint: Blueprint, plan: Plan) -> None:
        self.watcher.say("Applying the plan")
        self.terraform().apply(plan, deadline_s=self.limits.apply_s, parallelism=parallelism(blueprint.spec.nodes))

    def _ready(self, fleet: Fleet, plan: Plan, *, replace_bad: bool) -> Outcome:
        """The nodes as Terraform knows them, their host keys as the place knows them, and what they say."""
        gate = Gate(self.folder, self.cloud, self.limits, self.watcher, self.terraform)
        again = goes_on(fleet)
        try:
            done = gate.check(booking.settle(self.folder, fleet), plan)
            if replace_bad:
                done = BadNodes(self.folder, self.watcher, gate, self._plan, self._apply).replaced(done)
            elif done.bad and not done.all_bad:
                again += " With --replace-bad-nodes it puts other machines in the place of those nodes."
            refuse_if_any_failed(done.checks, done.note)
            return Outcome(done.fleet, done.plan)
        except MlbError as error:
            # Machines are there, whatever it was that failed: nobody may learn of the failure and not of them.
            raise NodeNotReady(error.what, why=error.why, fix=again) from None

    def _prepare(self, wanted: Blueprint) -> None:
        """What this machine needs for it: a Terraform that serves, and room for what that downloads."""
        self.engine = self.engine or find_engine()
        if wanted.spec.state.startswith("s3://"):
            refuse_without_locks(self.engine)
        refuse_if_full(self.folder, NEEDED_BYTES[wanted.spec.cloud])
        self.folder.create()

    def _preflight(self, wanted: Blueprint, adding: int) -> Place:
        place = self.cloud.preflight(wanted, adding)
        for text in place.notes:
            self.watcher.warn(text)
        return place

    def _teardown(self, fleet: Fleet) -> Teardown:
        blueprint = fleet.blueprint

        def by_terraform() -> None:
            limit, parallel = self.limits.destroy_s, parallelism(blueprint.spec.nodes)
            self.terraform().destroy(self.folder.plan_file, deadline_s=limit, parallelism=parallel)

        done = Teardown(self.cloud, blueprint, self.folder, self.watcher.say, fleet.usd_per_hour_now)
        return done.run(by_terraform if self.folder.has_state else None)

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
