"""`mlb infra`: rent a fleet, look at it, and give it back."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..infra.spec import FleetSpec, parse_duration

app = typer.Typer(help="Rent a fleet, look at it, and give it back.", no_args_is_help=True)

CloudOption = Annotated[str, typer.Option("--cloud", help="aws, gcp, docker (this machine) or ssh (hosts that exist).")]
NodesOption = Annotated[int, typer.Option("--nodes", help="Machines in the fleet.")]
GpusOption = Annotated[
    int | None, typer.Option("--gpus", help="GPUs used per node; 0 rents CPU nodes. [default: 1 in a cloud]")
]
GpuTypeOption = Annotated[str | None, typer.Option("--gpu-type", help="Such as T4, L4, A100, H100.")]
TypeOption = Annotated[str | None, typer.Option("--instance-type", help="One machine type and no other.")]
RegionOption = Annotated[str, typer.Option("--region", help="[default: us-east-1, us-central1]")]
ZoneOption = Annotated[str | None, typer.Option("--zone", help="One zone and no other. [default: each in turn]")]
SpotOption = Annotated[bool, typer.Option("--spot", help="Cheaper machines that the cloud may take back.")]
ImageOption = Annotated[str | None, typer.Option("--image", help="Image of the nodes.")]
DiskOption = Annotated[int, typer.Option("--disk-gb", help="Root disk of each node.")]
TtlOption = Annotated[str, typer.Option("--ttl", help="After this the nodes end by themselves.")]
CidrOption = Annotated[str, typer.Option("--allow-cidr", help="Who may reach port 22. [default: this machine]")]
WorldOption = Annotated[bool, typer.Option("--allow-world", help="0.0.0.0/0 is meant.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the fleet. [default: the cloud's]")]
MaxPriceOption = Annotated[
    str | None, typer.Option("--max-price", help="Dollars per hour for the fleet; refuse above.")
]
UnknownOption = Annotated[bool, typer.Option("--accept-unknown-price", help="Rent even if the price is unknown.")]
UserOption = Annotated[str, typer.Option("--ssh-user", help="Account on the nodes. [default: the image's]")]
MemlockOption = Annotated[bool, typer.Option("--memlock", help="Docker: lift the locked-memory limit.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def spec_of(cloud: str, gpus: int | None, ttl: str, max_price: str | None, name: str, **rest: Any) -> FleetSpec:
    """The spec of a command's options; raises UsageError for what makes no sense."""
    try:
        price = None if max_price is None else Decimal(max_price)
    except InvalidOperation:
        raise UsageError(f"--max-price {max_price!r} is not a number of dollars.") from None
    return FleetSpec(
        cloud=cloud,  # type: ignore[arg-type]  # checked by the spec, with the valid ones named
        name=name or cloud,
        gpus=int(cloud in ("aws", "gcp")) if gpus is None else gpus,
        ttl_s=parse_duration(ttl),
        max_price=price,
        **rest,
    )


@app.command()
def quote(
    cloud: CloudOption,
    nodes: NodesOption = 1,
    gpus: GpusOption = None,
    gpu_type: GpuTypeOption = None,
    instance_type: TypeOption = None,
    region: RegionOption = "",
    zone: ZoneOption = None,
    spot: SpotOption = False,
    ttl: TtlOption = "4h",
    max_price: MaxPriceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a fleet would cost. Needs no network and no credentials."""
    from ..infra.catalogue import load, utc_today
    from ..infra.quote import make_quote, refuse_if_over
    from .infra_view import quote_text

    spec = spec_of(
        cloud,
        gpus,
        ttl,
        max_price,
        "",
        nodes=nodes,
        gpu_type=gpu_type,
        instance_type=instance_type,
        region=region,
        zone=zone,
        spot=spot,
    )
    made = make_quote(spec, load(), utc_today())
    typer.echo(json.dumps(made.to_json(), indent=2) if as_json else quote_text(made))
    refuse_if_over(made)
