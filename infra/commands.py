"""What the verbs of `mlb infra` do, without a word printed: the CLI asks here and shows the answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import MlbError, NodeNotReady, PreflightError, ResultsInvalid, TeardownIncomplete, UsageError
from . import deadline, existing, ssh
from . import fleet as fleets
from .address import my_cidr
from .blueprint import Blueprint, this_owner
from .by_tag import cloud_for, destroy_by_tag
from .catalogue import load as load_catalogue
from .catalogue import utc_today
from .existing import Hosts
from .fleet import Fleet, Node
from .folder import FleetFolder, state_home
from .folder import current_name as current_name
from .holder import refuse_if_held
from .quote import Quote, make_quote, refuse_if_over, refuse_if_unknown
from .render import render
from .spec import FleetSpec, did_you_mean
from .stack import Outcome, Stack
from .status import known_fleet, names_hint
from .status import status as status
from .terraform import Plan
from .watcher import Limits, Watcher

# What a fleet that exists may still be asked to change; everything else would make it another fleet.
CHANGEABLE = frozenset({"nodes", "allow_cidr", "allow_world", "max_price", "unknown_price_ok"})
DRY_RUN_ID = "00000000"
NO_HOSTS = Hosts()


@dataclass(frozen=True)
class Request:
    """A fleet that was asked for, checked and quoted; nothing has been started.

    Attributes:
        nodes: hosts that exist; empty where the nodes are rented.
        replace_bad: nodes that fail their checks get another machine.
    """

    folder: FleetFolder
    blueprint: Blueprint
    quote: Quote
    known: Fleet | None
    nodes: tuple[Node, ...] = ()
    hosts: Hosts = NO_HOSTS
    replace_bad: bool = False


def request(
    given: Mapping[str, Any], home: Path | None = None, hosts: Hosts = NO_HOSTS, *, replace_bad: bool = False
) -> Request:
    """The options that were given, completed: by the fleet of that name if it exists, by defaults otherwise."""
    folder = FleetFolder(home or state_home(), _name(given))
    known = fleets.load(folder)
    spec = _changed(known, given) if known else _spec(given)
    nodes: tuple[Node, ...] = ()
    if spec.cloud == "ssh":
        if replace_bad:
            existing.refuse_to_replace(spec.name)
        nodes = existing.nodes_of(given, hosts, spec.name, known)
        spec = replace(spec, nodes=len(nodes))
    elif hosts != NO_HOSTS:
        raise UsageError("--hosts, --known-hosts and --trust-on-first-use are for --cloud ssh.")
    quote = make_quote(spec, load_catalogue(folder.home), utc_today())
    blueprint = replace(known.blueprint, spec=spec) if known else _new_blueprint(spec, quote)
    return Request(folder, blueprint, quote, known, nodes, hosts, replace_bad)


def quote(given: Mapping[str, Any]) -> Quote:
    """What a new fleet would cost, whatever fleets there are."""
    return make_quote(_spec(given), load_catalogue(state_home()), utc_today())


def dry_run(asked: Request) -> dict[str, str]:
    """The files that `apply` would hand to Terraform, with placeholders for what only the account can say."""
    blueprint = asked.blueprint
    if asked.known is None:
        zone = blueprint.zone or {"aws": f"{blueprint.spec.region}a", "gcp": f"{blueprint.spec.region}-a"}.get(
            blueprint.spec.cloud, ""
        )
        spec = replace(blueprint.spec, allow_cidr=blueprint.spec.allow_cidr or "192.0.2.1/32")
        ports = tuple(range(42000, 42000 + spec.nodes))
        key = "ssh-ed25519 THE-KEY-THAT-APPLY-MAKES"
        blueprint = replace(
            blueprint, spec=spec, zone=zone, fleet_id=DRY_RUN_ID, public_key=key, subnet="10.200.0", ports=ports
        )
        if spec.cloud == "gcp":
            blueprint = replace(blueprint, account=spec.project or "THE-PROJECT-OF-THE-LOGIN")
    return render(blueprint, int(time.time())) if blueprint.spec.cloud != "ssh" else {}


def plan(asked: Request, limits: Limits, watcher: Watcher) -> Plan:
    """What `apply` would do, asked of the account itself; raises PreflightError for a price above `--max-price`."""
    refuse_if_over(asked.quote)
    return _stack(asked.folder, asked.blueprint.spec, limits, watcher).plan(_with_address(asked).blueprint)


def apply(asked: Request, limits: Limits, watcher: Watcher, *, force: bool = False) -> Outcome:
    """Make the fleet as it was asked for, with `force` although a run uses it; see `Stack.apply` for what it raises."""
    refuse_if_unknown(asked.quote)
    refuse_if_over(asked.quote)
    try:
        outcome = _made(asked, limits, watcher, force=force)
    except (NodeNotReady, TeardownIncomplete):
        # Its machines are there, and billed: the next command must not mean this machine, nor another fleet.
        asked.folder.make_current()
        raise
    asked.folder.make_current()
    return outcome


def destroy(
    name: str,
    cloud: str | None,
    region: str,
    limits: Limits,
    watcher: Watcher,
    home: Path | None,
    *,
    project: str = "",
    force: bool = False,
) -> int:
    """Remove a fleet by its record, or by its tags alone when the record is lost or damaged.

    Args:
        force: although a run uses it.

    Returns:
        How many things only the sweep by tag found.
    """
    folder = FleetFolder(home or state_home(), name)
    try:
        known = fleets.load(folder)
    except ResultsInvalid:
        if cloud is None:
            raise
        known = None
    if known and cloud not in (None, known.blueprint.spec.cloud):
        raise UsageError(
            f"The fleet {name} of this machine is on {known.blueprint.spec.cloud}, not on {cloud}.",
            fix="Leave --cloud out to destroy that one; `mlb infra ls --cloud CLOUD` shows what else there is.",
        )
    if known and known.blueprint.spec.cloud == "ssh":
        existing.forget(folder, limits, force=force)
        return 0
    if known:
        return _stack(folder, known.blueprint.spec, limits, watcher).destroy(force=force).swept
    if cloud is None:
        raise PreflightError(
            f"There is no fleet {name} on this machine.",
            fix=names_hint(folder) + " A fleet without a record is found by its tags: add --cloud and --region.",
        )
    spec = FleetSpec(name=name, cloud=cloud, region=region, project=project)  # type: ignore[arg-type]  # checked there
    refuse_if_held(folder, "destroyed", force=force)
    return destroy_by_tag(folder, _new_blueprint(spec, _no_quote(spec)), watcher).swept


def local_fleets(home: Path | None = None) -> tuple[list[Fleet], dict[str, MlbError]]:
    """The fleets that are recorded on this machine, and by name what is wrong with the records that cannot be read."""
    base = home or state_home()
    found, damaged = [], {}
    for name in fleets.names(FleetFolder(base, "x")):
        try:
            fleet = fleets.load(FleetFolder(base, name))
        except MlbError as error:
            damaged[name] = error
            continue
        if fleet:
            found.append(fleet)
    return found, damaged


def folder_of(name: str | None) -> FleetFolder:
    """The folder of a fleet, or of the current one; raises UsageError for a name that is none."""
    chosen = name or current_name()
    if not chosen:
        raise UsageError("Which fleet?", fix="Add --name, or rent one: mlb infra apply --cloud docker --nodes 2")
    # The name becomes a path: whatever cannot be a fleet's name cannot be looked for either.
    return FleetFolder(state_home(), FleetSpec(name=chosen, cloud="docker").name)


def ssh_to(folder: FleetFolder, node: str, command: Sequence[str]) -> list[str]:
    """The command line to a node by name or number, its host key pinned."""
    fleet = known_fleet(folder)
    by_name = {n.name: n for n in fleet.nodes} | {str(i): n for i, n in enumerate(fleet.nodes)}
    if node not in by_name:
        raise UsageError(f"There is no node {node!r}.", fix=did_you_mean(node, [n.name for n in fleet.nodes]))
    return ssh.ssh_argv(folder, by_name[node], *(["--", *command] if command else []), batch=False)


def _made(asked: Request, limits: Limits, watcher: Watcher, *, force: bool) -> Outcome:
    if asked.nodes:
        return existing.register(asked.folder, asked.blueprint, asked.nodes, asked.hosts, limits, watcher, force=force)
    _refuse_if_ending(asked)
    asked = _with_address(asked)
    stack = _stack(asked.folder, asked.blueprint.spec, limits, watcher)
    return stack.apply(asked.blueprint, asked.quote, force=force, replace_bad=asked.replace_bad)


def _refuse_if_ending(asked: Request) -> None:
    """New nodes would have the fleet's old deadline, and end as they begin."""
    left_s = asked.blueprint.expires_epoch - time.time()
    if asked.known and left_s < deadline.MIN_LEFT_S:
        raise PreflightError(
            f"The fleet {asked.folder.name} {'ended' if left_s <= 0 else 'ends'} at {asked.blueprint.expires_at}.",
            fix=f"`mlb infra destroy --name {asked.folder.name}` clears it away; then apply it anew.",
        )


def _stack(folder: FleetFolder, spec: FleetSpec, limits: Limits, watcher: Watcher) -> Stack:
    return Stack(folder, cloud_for(spec), limits, watcher)


def _name(given: Mapping[str, Any]) -> str:
    name = given.get("name") or given.get("cloud") or current_name()
    if not name:
        raise UsageError("Which cloud?", fix="Add --cloud aws, gcp, docker or ssh.")
    return str(name)


def _spec(given: Mapping[str, Any]) -> FleetSpec:
    if "cloud" not in given:
        raise UsageError(
            f"There is no fleet {_name(given)} yet: which cloud?", fix="Add --cloud aws, gcp, docker or ssh."
        )
    defaults = {"gpus": 1} if given["cloud"] in ("aws", "gcp") else {}
    return FleetSpec(**{**defaults, **given, "name": _name(given)})


def _changed(known: Fleet, given: Mapping[str, Any]) -> FleetSpec:
    spec = known.blueprint.spec
    for key, value in given.items():
        if key not in CHANGEABLE and getattr(spec, key) != value:
            raise UsageError(
                f"The fleet {spec.name} has {key.replace('_', '-')} {getattr(spec, key)}, not {value}.",
                why="Only its --nodes, --allow-cidr and --max-price can be changed.",
                fix=f"Give the new fleet another --name, or `mlb infra destroy --name {spec.name}` first.",
            )
    return replace(spec, **{key: value for key, value in given.items() if key in CHANGEABLE})


def _new_blueprint(spec: FleetSpec, quote: Quote) -> Blueprint:
    return Blueprint(
        spec=spec,
        fleet_id=secrets.token_hex(4),
        machine=quote.chosen.machine if quote.chosen else None,
        zone=spec.zone or "",
        created=int(time.time()),
        owner=this_owner(),
        version=__version__,
        public_key="",
    )


def _with_address(asked: Request) -> Request:
    spec = asked.blueprint.spec
    if spec.allow_cidr or spec.cloud in ("docker", "ssh"):
        return asked
    return replace(asked, blueprint=replace(asked.blueprint, spec=replace(spec, allow_cidr=my_cidr())))


def _no_quote(spec: FleetSpec) -> Quote:
    return Quote(spec, None, (), ())
