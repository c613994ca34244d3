"""The options of `mlb infra`, and the plain values that they come to. What was not given stays out."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from .options import Json as Json

Cloud = Annotated[
    str | None, typer.Option("--cloud", help="aws, gcp, docker (this machine) or ssh (hosts that exist).")
]
Nodes = Annotated[int | None, typer.Option("--nodes", help="Machines in the fleet. [default: 1]")]
Gpus = Annotated[
    int | None, typer.Option("--gpus", help="GPUs used per node; 0 rents CPU nodes. [default: 1 in a cloud]")
]
GpuType = Annotated[str | None, typer.Option("--gpu-type", help="Such as T4, L4, A100, H100.")]
InstanceType = Annotated[str | None, typer.Option("--instance-type", help="One machine type and no other.")]
Project = Annotated[
    str | None, typer.Option("--project", help="Google Cloud project. [default: GOOGLE_CLOUD_PROJECT or the login's]")
]
Region = Annotated[str | None, typer.Option("--region", help="[default: us-east-1 on AWS, us-central1 on GCP]")]
Zone = Annotated[str | None, typer.Option("--zone", help="One zone and no other. [default: each in turn]")]
Spot = Annotated[bool | None, typer.Option("--spot/--on-demand", help="Machines that the cloud may take back.")]
Image = Annotated[str | None, typer.Option("--image", help="Image of the nodes; for Docker the base image.")]
DiskGb = Annotated[int | None, typer.Option("--disk-gb", help="Root disk of each node. [default: 100]")]
Ttl = Annotated[str | None, typer.Option("--ttl", help="After this the nodes end by themselves. [default: 4h]")]
AllowCidr = Annotated[
    str | None, typer.Option("--allow-cidr", help="Who may reach port 22. [default: this machine's address]")
]
AllowWorld = Annotated[bool | None, typer.Option("--allow-world", help="0.0.0.0/0 is meant, not a slip.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the fleet. [default: the cloud's]")]
MaxPrice = Annotated[str | None, typer.Option("--max-price", help="Dollars per hour for the whole fleet.")]
UnknownPrice = Annotated[bool | None, typer.Option("--accept-unknown-price", help="Rent at a price nobody knows.")]
SshUser = Annotated[str | None, typer.Option("--ssh-user", help="Account on the nodes. [default: the image's]")]
Memlock = Annotated[bool | None, typer.Option("--memlock", help="Docker: lift the locked-memory limit.")]
State = Annotated[str | None, typer.Option("--state", help="Keep Terraform's state in {s3,gs}://BUCKET/PREFIX.")]
HostsFile = Annotated[
    Path | None, typer.Option("--hosts", help="ssh: a line a host: ADDRESS [user= port= key= private= gpus= name=]")
]
KnownHosts = Annotated[
    Path | None, typer.Option("--known-hosts", help="ssh: where their host keys are known. [default: your own files]")
]
Trust = Annotated[
    bool, typer.Option("--trust-on-first-use", help="ssh: take unknown host keys from whoever answers now.")
]
Force = Annotated[bool, typer.Option("--force", help="Although a run uses the fleet.")]
ReplaceBad = Annotated[
    bool,
    typer.Option("--replace-bad-nodes", help="Put other machines in the place of nodes that fail, twice at most."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LockTimeout = Annotated[str, typer.Option("--lock-timeout", help="Wait that long for another command.")]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given, as the fields of a spec; raises UsageError for a duration or price that is none."""
    from ..infra.spec import parse_duration

    values = {key: value for key, value in options.items() if value is not None}
    if "ttl" in values:
        values["ttl_s"] = parse_duration(values.pop("ttl"))
    if "max_price" in values:
        try:
            values["max_price"] = Decimal(values["max_price"])
        except InvalidOperation:
            raise UsageError(f"--max-price {values['max_price']!r} is not a number of dollars.") from None
    return values
