"""What the user asked for: one frozen value, checked once, before anything else looks at it."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Literal, get_args

from ..errors import UsageError
from .bucket import bucket_of
from .places import REGIONS, default_region, region_of_zone

Cloud = Literal["aws", "gcp", "docker", "ssh"]
CLOUDS: tuple[Cloud, ...] = get_args(Cloud)

DEFAULT_TTL_S = 4 * 3600
MIN_TTL_S = 10 * 60
MAX_TTL_S = 30 * 24 * 3600
MAX_NODES: Mapping[str, int] = {"aws": 1000, "gcp": 1000, "docker": 200, "ssh": 1000}
"""A cluster placement group or a /20 ends near a thousand machines; our Docker networks are a /24."""

# The names become parts of host names, Terraform strings, tags and file names, so they are plain.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
# With the domain of an organisation in front where there is one (example.com:bench).
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
# Images and types are copied into Terraform; its quoting holds for anything, but odd characters are a slip.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/@*+-]{0,254}|/[A-Za-z0-9._/-]{1,254}")


@dataclass(frozen=True, kw_only=True)
class FleetSpec:
    """A fleet as it was asked for; raises UsageError when it makes no sense.

    Attributes:
        name: the fleet's name on this machine, and part of every resource's name.
        gpus: GPUs used per node, 0 for nodes without.
        gpu_type: a name of the catalogue such as `T4`; None means any.
        project: id of the Google Cloud project; empty is the one that the credentials name.
        region: where; empty only where there are no regions (docker, ssh).
        zone: one zone and no other; None lets mlb try the region's zones in turn.
        image: cloud image, or the base image of a Docker node; None is the cloud's default.
        ttl_s: seconds from the first apply until the nodes end by themselves.
        allow_cidr: the one network that may reach port 22; empty means this machine's own address.
        allow_world: `0.0.0.0/0` is meant, not a slip.
        max_price: the most that the whole fleet may cost per hour, in US dollars.
        unknown_price_ok: rent machines whose price the catalogue does not know.
        ssh_user: account to log in as; empty is the image's usual one.
        memlock: lift the locked-memory limit of Docker nodes (some hosts refuse that).
        state: `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX` for Terraform's state; empty keeps it on this machine.
    """

    name: str
    cloud: Cloud
    nodes: int = 1
    gpus: int = 0
    gpu_type: str | None = None
    instance_type: str | None = None
    project: str = ""
    region: str = ""
    zone: str | None = None
    spot: bool = False
    image: str | None = None
    disk_gb: int = 100
    ttl_s: int = DEFAULT_TTL_S
    allow_cidr: str = ""
    allow_world: bool = False
    max_price: Decimal | None = None
    unknown_price_ok: bool = False
    ssh_user: str = ""
    memlock: bool = False
    state: str = ""

    def __post_init__(self) -> None:
        _check_choice("cloud", self.cloud, CLOUDS)
        _check_name(self.name)
        _check_range("--nodes", self.nodes, 1, MAX_NODES[self.cloud])
        _check_range("--gpus", self.gpus, 0, 16)
        _check_range("--disk-gb", self.disk_gb, 20, 16_000)
        _check_range("--ttl (seconds)", self.ttl_s, MIN_TTL_S, MAX_TTL_S)
        object.__setattr__(self, "region", self.region or default_region(self.cloud, self.zone))
        _check_place(self)
        _check_cidr(self)
        _check_texts(self)
        if self.max_price is not None and not (self.max_price.is_finite() and self.max_price > 0):
            raise UsageError(f"--max-price must be a finite number above 0, not {self.max_price}.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {key: str(v) if isinstance(v, Decimal) else v for key, v in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> FleetSpec:
        """Reads what this or an earlier version wrote; keys it does not know are left aside."""
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        if known.get("max_price") is not None:
            known["max_price"] = Decimal(known["max_price"])
        return cls(**known)


def parse_duration(text: str) -> int:
    """Seconds in `90m`, `4h`, `2d` or `1h30m`; raises UsageError for anything else."""
    parts = re.findall(r"(\d+)([smhd])", text.strip().lower())
    if not parts or "".join(n + u for n, u in parts) != text.strip().lower():
        raise UsageError(f"{text!r} is not a duration.", fix="Write it like 90m, 4h, 2d or 1h30m.")
    return sum(int(n) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[u] for n, u in parts)


def did_you_mean(wrong: str, valid: Collection[str]) -> str:
    """One or two sentences that lead from a wrong word to the right ones."""
    by_fold = {v.casefold(): v for v in valid}
    close = difflib.get_close_matches(wrong.casefold(), by_fold, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(by_fold[c] for c in close)}? " if close else ""
    return f"{hint}Valid: {', '.join(sorted(valid))}."


def _check_choice(what: str, value: str, valid: Collection[str]) -> None:
    if value not in valid:
        raise UsageError(f"There is no {what} {value!r}.", fix=did_you_mean(value, valid))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a fleet's name.",
            why="The name becomes part of host names, tags and files.",
            fix="Use 1 to 30 of a-z, 0-9 and '-', beginning with a letter and not ending with '-'.",
        )


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{what} must be {low} to {high}, not {value}.")


def _check_place(spec: FleetSpec) -> None:
    if spec.project and spec.cloud != "gcp":
        raise UsageError(f"A fleet on {spec.cloud} has no project.", fix="--project is for --cloud gcp.")
    if spec.project and not _PROJECT.fullmatch(spec.project):
        raise UsageError(
            f"{spec.project!r} cannot be the id of a Google Cloud project.",
            fix="An id has 6 to 30 of a-z, 0-9 and '-' (`gcloud projects list` shows yours); it is not the name.",
        )
    if spec.cloud not in REGIONS:
        for what in ("region", "zone", "instance_type"):
            if getattr(spec, what):
                raise UsageError(f"A {spec.cloud} fleet has no {what.replace('_', ' ')}.")
        return
    _check_choice("region", spec.region, REGIONS[spec.cloud])
    if spec.zone and region_of_zone(spec.cloud, spec.zone) != spec.region:
        example = "us-east-1a" if spec.cloud == "aws" else "us-central1-a"
        raise UsageError(
            f"{spec.zone!r} is not a zone of {spec.region}.",
            fix=f"A zone looks like {example}; leave it out to try them all.",
        )


def _check_cidr(spec: FleetSpec) -> None:
    if not spec.allow_cidr:
        return
    try:
        network = ipaddress.IPv4Network(spec.allow_cidr)
    except ValueError as error:
        raise UsageError(
            f"--allow-cidr {spec.allow_cidr!r} is not an IPv4 network.",
            why=f"{error}.",
            fix="For one machine write 198.51.100.7/32.",
        ) from None
    if network.prefixlen == 0 and not spec.allow_world:
        raise UsageError(
            "0.0.0.0/0 opens port 22 of every node to the whole internet.",
            fix="Name your own address, or add --allow-world if you do mean it.",
        )


def _check_texts(spec: FleetSpec) -> None:
    for what in ("gpu_type", "instance_type", "image"):
        value = getattr(spec, what)
        if value is not None and not _PLAIN.fullmatch(value):
            raise UsageError(f"--{what.replace('_', '-')} {value!r} has characters that no such name has.")
    if spec.ssh_user and not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", spec.ssh_user):
        raise UsageError(f"{spec.ssh_user!r} cannot be an account's name.")
    if spec.state:
        bucket_of(spec.state, spec.cloud, spec.name, spec.region)
    if spec.gpu_type and spec.gpus == 0:
        raise UsageError(
            f"--gpu-type {spec.gpu_type} with --gpus 0 makes no sense.",
            fix="Say how many GPUs each node uses.",
        )
