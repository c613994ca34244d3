"""Shows a launch plan: as commands that a shell would take, or as JSON."""

from __future__ import annotations

import shlex
from dataclasses import asdict

from ..provisioner.plan import LaunchPlan
from .console import show_json, show_text


def show_plan(plan: LaunchPlan, as_json: bool) -> None:
    """Print it on stdout."""
    if as_json:
        show_json({"plan": asdict(plan)})
        return
    for node in plan.nodes:
        show_text(f"# node {node.node} ({node.name})")
        show_text(" ".join([*(f"{k}={shlex.quote(v)}" for k, v in node.env.items()), shlex.join(node.argv)]))
