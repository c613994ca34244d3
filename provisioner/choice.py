"""Which Python each node's environment is made of: one version for all, and what fits on a node before what is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import NodeUnfit
from ..results.text import sanitise

_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Choice:
    """What one node's environment is made of."""

    python: str
    """An interpreter of the node's that has the packages; empty where one is to be made by `steps`."""
    steps: tuple[tuple[str, ...], ...] = ()
    """Commands; `{base}`, `{python}`, `{home}` and `{uv}` stand for what only the node knows."""

    @property
    def base_key(self) -> str:
        """Names the environment that the steps make: equal steps, equal environment."""
        return hashlib.sha256(json.dumps(self.steps).encode()).hexdigest()[:16]


Look = Mapping[str, Any]
"""What a node said about itself: the answer of `env_on_node.look`."""


def choose(
    looks: Mapping[str, Look], packages: Mapping[str, str], wheels: str | None, own_version: str
) -> dict[str, Choice]:
    """For each node that has no environment yet, what it is to be made of.

    Args:
        looks: node name -> what it said; nodes that are ready bind the others to their version.
        packages: name -> the exact version that is wanted.
        wheels: folder with wheels on the nodes, relative to `.mlb`; None to install from an index.
        own_version: `3.11`: the Python that uv would bring where the nodes' own versions differ.

    Raises:
        NodeUnfit: there is no version of Python that every node can have; each node's are listed.
    """
    todo = {name: look for name, look in looks.items() if look["env"] is None}
    if not todo:
        return {}
    bound = {_minor(look["env"]["python"]) for look in looks.values() if look["env"]}
    fitting = [_minor(p["version"]) for look in todo.values() for p in look["pythons"] if fits(p, look, packages)]
    there = {_minor(p["version"]) for look in todo.values() for p in look["pythons"]}
    # Rather one that saves most nodes an installation; then the newest.
    ordered = sorted(bound or there | {own_version}, key=lambda v: (fitting.count(v), _numbers(v)), reverse=True)
    for version in ordered:
        chosen = {name: _on(look, version, packages, wheels) for name, look in todo.items()}
        found = {name: choice for name, choice in chosen.items() if choice}
        if len(found) == len(todo):
            return found
    raise _no_common(looks, bound)


def fits(python: Mapping[str, Any], look: Look, packages: Mapping[str, str]) -> bool:
    """Whether an interpreter has what the run needs: the very torch that is wanted, with CUDA where there are GPUs, and
    each of the other packages in whatever version."""
    base, _, build = python["torch"].partition("+")
    return base == packages["torch"] and set(packages) <= set(python["has"]) and not (look["gpus"] and build == "cpu")


def _on(look: Look, version: str, packages: Mapping[str, str], wheels: str | None) -> Choice | None:
    own = [p for p in look["pythons"] if _minor(p["version"]) == version]
    ready = [p["path"] for p in own if fits(p, look, packages)]
    if ready:
        return Choice(ready[0])
    if look["uv"]:
        return Choice("", _by_uv(own[0]["path"] if own else version, look, packages, wheels))
    with_pip = [p["path"] for p in own if p["pip"]]
    return Choice("", _by_pip(with_pip[0], look, packages, wheels)) if with_pip else None


def _by_uv(python: str, look: Look, packages: Mapping[str, str], wheels: str | None) -> tuple[tuple[str, ...], ...]:
    source = _from_wheels(wheels) if wheels else ("--torch-backend", "auto" if look["gpus"] else "cpu")
    pins = tuple(f"{name}=={version}" for name, version in packages.items())
    install = ("{uv}", "pip", "install", "--python", "{python}", *source, *pins)
    return (("{uv}", "venv", "--python", _literal(python), "{base}"), install)


def _by_pip(python: str, look: Look, packages: Mapping[str, str], wheels: str | None) -> tuple[tuple[str, ...], ...]:
    pins = dict(packages)
    source: tuple[str, ...] = ()
    if wheels:
        source = _from_wheels(wheels)
    elif not look["gpus"] and look["machine"] == "x86_64":
        # Without the mark pip would take the build of PyPI, with gigabytes of CUDA that no CPU needs.
        source, pins["torch"] = ("--extra-index-url", _CPU_INDEX), f"{pins['torch']}+cpu"
    specs = tuple(f"{name}=={version}" for name, version in pins.items())
    install = ("{python}", "-m", "pip", "install", *source, *specs)
    return ((_literal(python), "-m", "venv", "{base}"), install)


def _from_wheels(wheels: str) -> tuple[str, ...]:
    return ("--no-index", "--find-links", f"{{home}}/{_literal(wheels)}")


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _no_common(looks: Mapping[str, Look], bound: set[str]) -> NodeUnfit:
    lines = []
    for name, look in looks.items():
        versions = [look["env"]["python"]] if look["env"] else [_text(p["version"]) for p in look["pythons"]]
        listed = sanitise(", ".join(versions)) or "older than 3.11"
        lines.append(f"  {name}: Python {listed}{', uv' if look.get('uv') else ''}")
    wanted = f" The environments that are there have Python {' and '.join(sorted(bound))}." if bound else ""
    return NodeUnfit(
        f"The nodes have no version of Python in common on which mlb can run.{wanted}",
        why="\n".join(lines),
        fix="Install one version from 3.11 on with its venv module on all of them, or uv, which brings any version.",
    )


def _minor(version: str | Sequence[int]) -> str:
    parts = version.split(".") if isinstance(version, str) else [str(v) for v in version]
    return ".".join(parts[:2])


def _text(version: Sequence[int]) -> str:
    return ".".join(str(v) for v in version)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
