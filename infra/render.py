"""Blueprint to files: a root module of literals, and what lies beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .blueprint import Blueprint, digest, iso, label
from .bucket import bucket_of
from .images import Image, image_of, usual_user

FIRST_DOCKER_HOST = 10
"""The gateway takes .1; a few low addresses stay free for it and for the user."""


class Plain(str):
    """Text that goes into a template as it is: a comment, or a part of a fixed command."""

    __slots__ = ()


def hcl(value: Any) -> str:
    """A value as an HCL literal: JSON's quoting is HCL's, but `${` and `%{` begin a template there."""
    if isinstance(value, Plain):
        return value
    if not isinstance(value, str | int | bool | list | tuple):
        raise TypeError(f"no HCL literal for {type(value).__name__}")
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def render(blueprint: Blueprint, now: int) -> dict[str, str]:
    """The module's files by name. `now` is in seconds since 1970: GCP counts a node's time from its start."""
    return _RENDERERS[blueprint.spec.cloud](blueprint, now)


def _aws(blueprint: Blueprint, _now: int) -> dict[str, str]:
    templates = {"main.tf": "aws/main.tf.j2", "user-data.yaml": "node/user-data.yaml.j2", **_backend(blueprint)}
    return _rendered(templates, _common(blueprint))


def _gcp(blueprint: Blueprint, now: int) -> dict[str, str]:
    machine = blueprint.machine
    values = {
        **_common(blueprint),
        "project": blueprint.account,
        "owner_label": label(blueprint.owner),
        "created_label": str(blueprint.created),
        "expires_label": str(blueprint.expires_epoch),
        "version_label": label(blueprint.version),
        "accelerator": machine.accelerator if machine else "",
        "machine_gpus": machine.gpus if machine else 0,
        # N1 machines with attached GPUs cannot be placed compactly.
        "compact": machine is not None and not machine.machine_type.startswith("n1-"),
        "left_s": max(blueprint.expires_epoch - now, 60),
    }
    return _rendered({"main.tf": "gcp/main.tf.j2", **_backend(blueprint)}, values)


def _backend(blueprint: Blueprint) -> dict[str, str]:
    """The file that says where Terraform's state lies, where that is not beside the module."""
    return {"backend.tf": f"{blueprint.spec.cloud}/backend.tf.j2"} if blueprint.spec.state else {}


def _rendered(templates: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _environment().get_template(path).render(values) for name, path in templates.items()}


def docker_image_tag(blueprint: Blueprint) -> str:
    """The tag of a Docker node's image: it changes with what the image is built from."""
    return f"mlb-node:{digest(*_docker_context(blueprint).values())}"


def _docker_context(blueprint: Blueprint) -> dict[str, str]:
    base = image_of(blueprint.spec, None).name
    return {
        "Dockerfile": _environment().get_template("docker/Dockerfile.j2").render(base_image=base),
        "node.sh": _environment().get_template("docker/node.sh.j2").render(),
    }


def _docker(blueprint: Blueprint, _now: int) -> dict[str, str]:
    values = _common(blueprint) | {
        "image_tag": docker_image_tag(blueprint),
        "memlock": blueprint.spec.memlock,
        "subnet": f"{blueprint.subnet}.0/24",
        "docker_nodes": [_docker_node(blueprint, i) for i in range(blueprint.spec.nodes)],
    }
    main = _environment().get_template("docker/main.tf.j2").render(values)
    return {"main.tf": main, **_docker_context(blueprint)}


def _docker_node(blueprint: Blueprint, index: int) -> dict[str, str]:
    gpus = blueprint.spec.gpus
    return {
        "key": f"{index:03}",
        "name": f"{blueprint.resource_name}-{index}",
        "host": blueprint.node_name(index),
        "ip": f"{blueprint.subnet}.{FIRST_DOCKER_HOST + index}",
        "port": str(blueprint.ports[index]),
        "devices": ",".join(str(index * gpus + g) for g in range(gpus)),
    }


def node_address(cloud: str, index: int) -> str:
    """What Terraform calls a node of the module that is rendered here."""
    return _ADDRESSES[cloud].format(index)


_ADDRESSES = {
    "aws": "aws_instance.node[{}]",
    "gcp": "google_compute_instance.node[{}]",
    "docker": 'terraform_data.node["{:03}"]',
}
_RENDERERS: dict[str, Callable[[Blueprint, int], dict[str, str]]] = {
    "aws": _aws,
    "gcp": _gcp,
    "docker": _docker,
}


def _common(blueprint: Blueprint) -> dict[str, Any]:
    spec, machine = blueprint.spec, blueprint.machine
    image = Image("id", blueprint.image_id) if blueprint.image_id else image_of(spec, machine)
    state = bucket_of(spec.state, spec.cloud, blueprint.resource_name, spec.region) if spec.state else None
    return {
        "state": state,
        "name": spec.name,
        "resource_name": blueprint.resource_name,
        "fleet_id": blueprint.fleet_id,
        "owner": blueprint.owner,
        "version": blueprint.version,
        "account": blueprint.account,
        "created": iso(blueprint.created),
        "expires_at": blueprint.expires_at,
        "expires_epoch": blueprint.expires_epoch,
        "ttl_s": spec.ttl_s,
        "region": spec.region,
        "zone": blueprint.zone,
        "nodes": spec.nodes,
        "gpus": spec.gpus,
        "spot": spec.spot,
        "disk_gb": spec.disk_gb,
        "machine_type": machine.machine_type if machine else "",
        "allow_cidr": spec.allow_cidr,
        "public_key": blueprint.public_key,
        "ssh_user": usual_user(spec),
        "image": image.name,
        "image_kind": image.kind,
        "image_owner": image.owner,
        "image_project": image.owner,
    }


@cache
def _environment() -> Environment:
    """Every `{{ value }}` comes out as an HCL literal, so none can be forgotten; `| plain` is the exception.

    Nothing here is HTML, and the values are of our own types: autoescape would only spoil the quotes.
    """
    environment = Environment(
        loader=PackageLoader("mlb", "templates"),
        undefined=StrictUndefined,
        finalize=hcl,
        autoescape=False,  # noqa: S701
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = lambda value: Plain(value)
    return environment
