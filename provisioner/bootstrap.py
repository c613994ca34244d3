"""Nodes made ready for a run: the same mlb, Python and torch on each; a node that has them costs one round trip."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import MlbError, NodeUnfit, PreflightError, UsageError
from ..results.backends import MPI_PACKAGES
from ..results.text import sanitise
from . import env_on_node
from .backends import refuse_if_missing
from .choice import Choice, Look, choose
from .fan_out import fan_out
from .nodes import Node
from .spread import Parcel, spread
from .ssh import SshTransport
from .wheel import Wheel

HOME = PurePosixPath(".mlb")
"""mlb's folder on a node, in the home folder of its user."""
NODE_PACKAGES = ("numpy", "pillow", "sacrebleu", "sentencepiece", "torch")
"""What the rooms that run on nodes import; everything else of mlb's dependencies is for the controller."""
_LOOK_S = 120.0
_MAKE_S = 3600.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Supplies:
    """What the controller has for the nodes."""

    wheel: Wheel
    packages: Mapping[str, str]
    """Name -> exact version."""
    wheelhouse: Path | None = None
    """A folder of wheels for nodes without a package index; None where they have one."""
    pythons: tuple[str, ...] = ()
    """Interpreters on the nodes to look at first."""

    @property
    def wanted(self) -> dict[str, Any]:
        """What an environment must have been made for."""
        return {"wheel": self.wheel.sha256, "packages": dict(self.packages)}


@dataclass(frozen=True)
class ReadyNode:
    """A node on which a run can be started."""

    node: Node
    python: str
    """Absolute path of the interpreter that has mlb and torch."""
    home: PurePosixPath
    """mlb's folder there, absolute."""
    python_version: str
    torch_version: str


def supplies(
    wheel: Wheel,
    wheelhouse: Path | None = None,
    pythons: tuple[str, ...] = (),
    backend: str | None = None,
    libraries: tuple[str, ...] = (),
) -> Supplies:
    """What this controller offers: the nodes get the versions of torch and numpy that it has itself.

    Args:
        libraries: further packages that the run needs.

    Raises:
        UsageError: the folder of wheels holds none.
        PreflightError: torch, or what the backend needs, is not installed here: nobody knows which is wanted; or the
            folder of wheels lacks what the backend needs.
    """
    if wheelhouse is not None and not list(wheelhouse.glob("*.whl")):
        raise UsageError(f"There is no wheel in {wheelhouse}.", fix=f"Fill it: {download_command(wheelhouse)}")
    refuse_if_missing(backend or "gloo", wheelhouse)
    wanted = NODE_PACKAGES + (MPI_PACKAGES if backend == "mpi" else ()) + libraries
    try:
        packages = {name: metadata.version(name).partition("+")[0] for name in wanted}
    except metadata.PackageNotFoundError as error:
        raise PreflightError(
            f"{error.name} is not installed here.",
            why="The nodes get the version that this machine has.",
            fix="Install mlb with its dependencies: pip install mlb",
        ) from None
    return Supplies(wheel, packages, wheelhouse, pythons)


def download_command(folder: Path) -> str:
    """How the folder of wheels is filled."""
    return f"pip download --only-binary :all: --dest {folder} {' '.join(NODE_PACKAGES)}"


def ready(doors: Mapping[str, SshTransport], offer: Supplies, say: Say) -> dict[str, ReadyNode | MlbError]:
    """Make every node ready; what is there is used, what is missing is made, on all nodes at once.

    Args:
        say: told what is being done, for people.

    Returns:
        Node name -> the node, or why it is not ready.

    Raises:
        NodeUnfit: the nodes cannot have, or do not have, the same Python and torch; the difference is named.
    """
    request = {"home": str(HOME), "wanted": offer.wanted, "pythons": offer.pythons}
    looked = fan_out(doors, lambda door: _look(door, request))
    looks = {name: look for name, look in looked.items() if not isinstance(look, MlbError)}
    chosen = _choose(doors, looks, offer)
    made = _make({name: doors[name] for name in chosen}, looks, chosen, offer, say) if chosen else {}
    results: dict[str, ReadyNode | MlbError] = {}
    for name, look in looked.items():
        record: Any = made.get(name, look if isinstance(look, MlbError) else look["env"])
        results[name] = record if isinstance(record, MlbError) else _ready_node(doors[name], looks[name], record)
    refuse_differences([node for node in results.values() if isinstance(node, ReadyNode)])
    return results


def refuse_differences(nodes: list[ReadyNode]) -> None:
    """Raises NodeUnfit where two nodes would run another Python or torch: their times could not be compared."""
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        python = ".".join(node.python_version.split(".")[:2])
        kinds.setdefault(f"Python {python}, torch {node.torch_version}", []).append(node.node.name)
    if len(kinds) > 1:
        raise NodeUnfit(
            "The nodes do not have the same Python and torch.",
            why="\n".join(f"  {sanitise(kind)}: {', '.join(names)}" for kind, names in kinds.items()),
            fix="Have the same image on all nodes, or give all the same wheels: --wheelhouse DIR",
        )


def _look(door: SshTransport, request: Mapping[str, Any]) -> Look:
    said = door.call("look", request, env_on_node, timeout_s=_LOOK_S)
    try:
        _ready_node(door, said, said["env"] or {"python": "", "torch": "", "path": ""})
        _ = [(p["path"], p["version"][:2], p["torch"], set(p["has"]), p["pip"]) for p in said.get("pythons", ())]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NodeUnfit(f"The answer of {door.node.name} makes no sense.", why=f"look: {error!r}") from None
    return dict(said)


def _choose(doors: Mapping[str, SshTransport], looks: dict[str, Look], offer: Supplies) -> dict[str, Choice]:
    """As `choose`; where the nodes' own Pythons do not do, uv is fetched for them, which brings any version."""
    own_version = ".".join(platform.python_version_tuple()[:2])
    try:
        return choose(looks, offer.packages, _wheels_at(offer), own_version)
    except NodeUnfit as refused:
        lacking = {name: doors[name] for name, look in looks.items() if look["env"] is None and not look["uv"]}
        got = fan_out(lacking, lambda door: _get_uv(door, offer, looks[door.node.name]["machine"]))
        failed = [f"  {name}: {error}" for name, error in got.items() if isinstance(error, MlbError)]
        if failed or not lacking:
            why = "\n".join([refused.why, *(["uv could not be had:"] if failed else []), *failed])
            raise NodeUnfit(refused.what, why=why, fix=refused.fix) from None
        looks.update({name: {**looks[name], "uv": uv} for name, uv in got.items()})
        return choose(looks, offer.packages, _wheels_at(offer), own_version)


def _get_uv(door: SshTransport, offer: Supplies, machine: str) -> str:
    """Install uv on a node, from the folder of wheels if there is one; its path there."""
    request = {"home": str(HOME), "wheel": ""}
    if offer.wheelhouse is not None:
        wheels = sorted(offer.wheelhouse.glob(f"uv-*manylinux*{machine}*.whl"))
        if not wheels:
            raise NodeUnfit(f"There is no wheel of uv for {machine} in {offer.wheelhouse}.")
        request["wheel"] = str(HOME / "wheels" / wheels[-1].name)
        door.put(wheels[-1], PurePosixPath(request["wheel"]))
    return str(door.call("install_uv", request, env_on_node, timeout_s=_MAKE_S).get("uv", ""))


def _make(
    doors: Mapping[str, SshTransport],
    looks: Mapping[str, Look],
    chosen: Mapping[str, Choice],
    offer: Supplies,
    say: Say,
) -> dict[str, Any]:
    """Send what is missing and have the environments made; node name -> the environment's record or an error."""
    wheel_at = HOME / "wheels" / offer.wheel.sha256[:16] / offer.wheel.path.name
    failed: dict[str, Any] = {}
    building = {name: doors[name] for name, choice in chosen.items() if not choice.python}
    if offer.wheelhouse and building:
        files = {HOME / str(_wheels_at(offer)) / path.name: path for path in sorted(offer.wheelhouse.glob("*.whl"))}
        say(f"Sending {len(files)} wheels to {len(building)} nodes")
        sent = spread(building, Parcel(files), lambda *_: None)
        failed = {name: error for name, error in sent.items() if error is not None}
    say(f"Making the Python environment on {len(doors)} nodes: {_how(chosen)}")

    def one(name: str) -> Any:
        door, choice, look = doors[name], chosen[name], looks[name]
        door.put(offer.wheel.path, wheel_at)
        request = {
            "home": str(HOME),
            "key": _key(offer, choice, look),
            "base_key": choice.base_key,
            "python": choice.python,
            "steps": choice.steps,
            "wheel": str(wheel_at),
            "gpus": look["gpus"],
            "wanted": {**offer.wanted, "build": "cuda" if look["gpus"] else "cpu"},
        }
        record = door.call("make", request, env_on_node, timeout_s=_MAKE_S)
        if not all(isinstance(record.get(key), str) for key in ("python", "torch", "path")):
            raise NodeUnfit(f"The answer of {door.node.name} makes no sense.", why=sanitise(record))
        return record

    return failed | fan_out({name: name for name in doors if name not in failed}, one)


def _key(offer: Supplies, choice: Choice, look: Look) -> str:
    """The fingerprint of an environment: everything that decides what is in it."""
    text = repr((offer.wheel.sha256, sorted(offer.packages.items()), choice, look["gpus"] > 0))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _how(chosen: Mapping[str, Choice]) -> str:
    own = sum(bool(choice.python) for choice in chosen.values())
    parts = [(own, "over a torch that is there"), (len(chosen) - own, "with torch to be installed")]
    return ", ".join(f"{count} {what}" for count, what in parts if count)


def _wheels_at(offer: Supplies) -> str | None:
    """Where the folder of wheels goes on a node, relative to mlb's; their content is checked when they are sent."""
    if offer.wheelhouse is None:
        return None
    listing = "".join(f"{path.name} {path.stat().st_size}\n" for path in sorted(offer.wheelhouse.glob("*.whl")))
    return f"wheels/{hashlib.sha256(listing.encode()).hexdigest()[:16]}"


def _ready_node(door: SshTransport, look: Look, record: Mapping[str, Any]) -> ReadyNode:
    node = Node(
        name=door.node.name,
        gpus=int(look["gpus"]),
        cores=int(look["cores"]),
        memory_bytes=int(look["memory_bytes"]),
        private_ip=door.node.private_ip,
    )
    home = PurePosixPath(look["home"])
    return ReadyNode(node, str(record["path"]), home, str(record["python"]), str(record["torch"]))
