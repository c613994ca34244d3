"""Which Python an environment is made of: a table of nodes and what they come to."""

from __future__ import annotations

from typing import Any

import pytest
from mlb.errors import NodeUnfit
from mlb.provisioner.bootstrap import ReadyNode, refuse_differences
from mlb.provisioner.choice import choose
from mlb.provisioner.nodes import Node

PACKAGES = {"numpy": "2.4.6", "torch": "2.13.0"}


def python(
    version: str, torch: str = "", *, pip: bool = True, path: str = "", has: list[str] | None = None
) -> dict[str, Any]:
    numbers = [int(part) for part in version.split(".")]
    path = path or f"/usr/bin/python{version}"
    return {"version": numbers, "path": path, "torch": torch, "has": has or [*PACKAGES], "pip": pip}


def look(
    *pythons: dict[str, Any], gpus: int = 0, uv: str = "", env: str = "", machine: str = "x86_64"
) -> dict[str, Any]:
    ready = {"python": env, "torch": "2.13.0", "path": "/p"} if env else None
    return {"env": ready, "pythons": list(pythons), "uv": uv, "gpus": gpus, "machine": machine}


def pick(wheels: str | None = None, **looks: dict[str, Any]) -> dict[str, str]:
    chosen = choose(looks, PACKAGES, wheels, "3.12")
    return {
        name: choice.python or " | ".join(" ".join(step) for step in choice.steps) for name, choice in chosen.items()
    }


def test_a_torch_that_is_there_is_used() -> None:
    own = python("3.11.2", "2.13.0+cpu", path="/opt/t/bin/python")
    assert pick(a=look(python("3.12.1"), own)) == {"a": "/opt/t/bin/python"}
    assert "install" in pick(a=look(python("3.11.2", "2.12.0")))["a"], "another version of torch does not do"
    assert "install" in pick(a=look(python("3.11.2", "2.13.0+cpu"), gpus=1))["a"], "nor a CPU build beside GPUs"
    assert pick(a=look(python("3.11.2", "2.13.0+cu130"), gpus=1)) == {"a": "/usr/bin/python3.11.2"}
    bare = python("3.11.2", "2.13.0+cpu", has=["torch"])
    assert "install" in pick(a=look(bare))["a"], "nor one without another package that the run needs"


def test_a_ready_node_needs_nothing_and_binds_the_others() -> None:
    assert pick(a=look(env="3.11.7")) == {}
    chosen = pick(a=look(env="3.11.7"), b=look(python("3.13.1"), python("3.11.2")))
    assert set(chosen) == {"b"}
    assert chosen["b"].startswith("/usr/bin/python3.11.2 -m venv")


def test_all_nodes_get_one_version() -> None:
    chosen = pick(a=look(python("3.13.1"), python("3.11.2")), b=look(python("3.11.9")))
    assert chosen["a"].startswith("/usr/bin/python3.11.2 ")
    assert chosen["b"].startswith("/usr/bin/python3.11.9 ")


@pytest.mark.parametrize(
    ("wheels", "node", "expected"),
    [
        (
            None,
            look(python("3.11.2")),
            "/usr/bin/python3.11.2 -m venv {base} | {python} -m pip install --extra-index-url "
            "https://download.pytorch.org/whl/cpu numpy==2.4.6 torch==2.13.0+cpu",
        ),
        (
            None,
            look(python("3.11.2"), gpus=8),
            "/usr/bin/python3.11.2 -m venv {base} | {python} -m pip install numpy==2.4.6 torch==2.13.0",
        ),
        (
            "wheels/x",
            look(python("3.11.2")),
            "/usr/bin/python3.11.2 -m venv {base} | {python} -m pip install --no-index --find-links {home}/wheels/x "
            "numpy==2.4.6 torch==2.13.0",
        ),
        (
            None,
            look(uv="/bin/uv", gpus=1),
            "{uv} venv --python 3.12 {base} | {uv} pip install --python {python} --torch-backend auto "
            "numpy==2.4.6 torch==2.13.0",
        ),
        (
            None,
            look(python("3.12.2"), uv="/bin/uv"),
            "{uv} venv --python /usr/bin/python3.12.2 {base} | {uv} pip install --python {python} --torch-backend cpu "
            "numpy==2.4.6 torch==2.13.0",
        ),
    ],
)
def test_the_commands(wheels: str | None, node: dict[str, Any], expected: str) -> None:
    assert pick(wheels, a=node) == {"a": expected}


def test_no_version_in_common_is_refused_with_what_each_has() -> None:
    with pytest.raises(NodeUnfit) as refused:
        pick(a=look(python("3.12.1")), b=look(python("3.11.9")), c=look())
    assert "  a: Python 3.12.1\n  b: Python 3.11.9\n  c: Python older than 3.11" in str(refused.value)


def test_nodes_that_came_out_different_are_refused_with_the_difference() -> None:
    def node(name: str, python_version: str, torch: str) -> ReadyNode:
        return ReadyNode(Node(name, 0, 1, 1), "/p", None, python_version, torch)  # type: ignore[arg-type]

    refuse_differences([node("a", "3.11.2", "2.13.0+cpu"), node("b", "3.11.9", "2.13.0+cpu")])
    with pytest.raises(NodeUnfit) as refused:
        refuse_differences([node("a", "3.11.2", "2.13.0+cpu"), node("b", "3.11.9", "2.13.0+cu130")])
    assert "  Python 3.11, torch 2.13.0+cpu: a\n  Python 3.11, torch 2.13.0+cu130: b" in str(refused.value)
