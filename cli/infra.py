"""`mlb infra`: rent a fleet, look at it, and give it back."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from ..errors import UsageError
from . import infra_options as o

app = typer.Typer(help="Rent a fleet, look at it, and give it back.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def quote(
    cloud: o.Cloud = None,
    nodes: o.Nodes = None,
    gpus: o.Gpus = None,
    gpu_type: o.GpuType = None,
    instance_type: o.InstanceType = None,
    region: o.Region = None,
    zone: o.Zone = None,
    spot: o.Spot = None,
    disk_gb: o.DiskGb = None,
    ttl: o.Ttl = None,
    max_price: o.MaxPrice = None,
    name: o.Name = None,
    as_json: o.Json = False,
) -> None:
    """Say what a fleet would cost. Needs no network and no credentials."""
    from ..infra import commands
    from ..infra.quote import refuse_if_over
    from .console import show_json, show_text
    from .infra_view import quote_text

    options = {"cloud": cloud, "nodes": nodes, "gpus": gpus, "gpu_type": gpu_type, "instance_type": instance_type}
    options |= {"region": region, "zone": zone, "spot": spot, "disk_gb": disk_gb, "ttl": ttl, "name": name}
    made = commands.quote(o.given(**options, max_price=max_price))
    if as_json:
        show_json(made.to_json())
    else:
        show_text(quote_text(made))
    refuse_if_over(made)


@app.command()
def apply(
    cloud: o.Cloud = None,
    nodes: o.Nodes = None,
    gpus: o.Gpus = None,
    gpu_type: o.GpuType = None,
    instance_type: o.InstanceType = None,
    project: o.Project = None,
    region: o.Region = None,
    zone: o.Zone = None,
    spot: o.Spot = None,
    image: o.Image = None,
    disk_gb: o.DiskGb = None,
    ttl: o.Ttl = None,
    allow_cidr: o.AllowCidr = None,
    allow_world: o.AllowWorld = None,
    name: o.Name = None,
    max_price: o.MaxPrice = None,
    unknown_price_ok: o.UnknownPrice = None,
    ssh_user: o.SshUser = None,
    memlock: o.Memlock = None,
    state: o.State = None,
    hosts: o.HostsFile = None,
    known_hosts: o.KnownHosts = None,
    trust_on_first_use: o.Trust = False,
    replace_bad_nodes: o.ReplaceBad = False,
    force: o.Force = False,
    yes: o.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the price and the files; touch nothing.")] = False,
    zone_timeout: Annotated[str, typer.Option("--zone-timeout", help="Give a zone up after that long.")] = "15m",
    ready_timeout: Annotated[str, typer.Option("--ready-timeout", help="Wait that long for the nodes.")] = "15m",
    lock_timeout: o.LockTimeout = "0s",
    as_json: o.Json = False,
) -> None:
    """Rent a fleet, or bring the one there is to what is asked for."""
    given = o.given(
        cloud=cloud,
        nodes=nodes,
        gpus=gpus,
        gpu_type=gpu_type,
        instance_type=instance_type,
        project=project,
        region=region,
        zone=zone,
        spot=spot,
        image=image,
        disk_gb=disk_gb,
        ttl=ttl,
        allow_cidr=allow_cidr,
        allow_world=allow_world,
        name=name,
        max_price=max_price,
        unknown_price_ok=unknown_price_ok,
        ssh_user=ssh_user,
        memlock=memlock,
        state=state,
    )
    from . import infra_run

    asked = infra_run.asked(given, hosts, known_hosts, trust=trust_on_first_use, replace_bad=replace_bad_nodes)
    if dry_run:
        infra_run.dry_run(asked, as_json)
    else:
        limits = infra_run.limits(zone_timeout, ready_timeout, lock_timeout)
        infra_run.apply(asked, limits, yes=yes, force=force, as_json=as_json)


@app.command()
def plan(
    cloud: o.Cloud = None,
    nodes: o.Nodes = None,
    gpus: o.Gpus = None,
    gpu_type: o.GpuType = None,
    instance_type: o.InstanceType = None,
    project: o.Project = None,
    region: o.Region = None,
    zone: o.Zone = None,
    spot: o.Spot = None,
    image: o.Image = None,
    disk_gb: o.DiskGb = None,
    ttl: o.Ttl = None,
    allow_cidr: o.AllowCidr = None,
    name: o.Name = None,
    max_price: o.MaxPrice = None,
    as_json: o.Json = False,
) -> None:
    """Show what `apply` would create, change and destroy; asks the account, creates nothing."""
    from . import infra_run

    options = {"cloud": cloud, "nodes": nodes, "gpus": gpus, "gpu_type": gpu_type, "instance_type": instance_type}
    options |= {"region": region, "zone": zone, "spot": spot, "image": image, "disk_gb": disk_gb, "ttl": ttl}
    options |= {"allow_cidr": allow_cidr, "name": name, "max_price": max_price}
    infra_run.plan(o.given(**options, project=project), as_json)


@app.command()
def status(name: o.Name = None, as_json: o.Json = False) -> None:
    """The fleet as it was made, and as it is now."""
    from ..infra import commands
    from .console import show_json, show_text
    from .infra_view import status_json, status_text

    found = commands.status(commands.folder_of(name))
    if as_json:
        show_json(status_json(found))
    else:
        show_text(status_text(found, time.time()))


@app.command(context_settings={"ignore_unknown_options": True})
def ssh(
    node: Annotated[str, typer.Argument(help="The node's name or number.")] = "0",
    command: Annotated[list[str] | None, typer.Argument(help="What to run there. [default: a shell]")] = None,
    name: o.Name = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print ssh's command line instead of running it.")] = False,
) -> None:
    """Log in to a node, its host key pinned, or run a command there (after `--` where it has options of its own)."""
    from ..infra import commands
    from .console import show_json

    argv = commands.ssh_to(commands.folder_of(name), node, command or [])
    if as_json:
        show_json({"argv": argv})
        return
    os.execvp(argv[0], argv)  # noqa: S606


@app.command()
def destroy(
    name: o.Name = None,
    cloud: o.Cloud = None,
    project: o.Project = None,
    region: o.Region = None,
    force: o.Force = False,
    yes: o.Yes = False,
    lock_timeout: o.LockTimeout = "0s",
    as_json: o.Json = False,
) -> None:
    """Remove a fleet and prove that nothing of it is left; exit code 9 if anything is."""
    from . import infra_run
    from .infra_tags import Where

    where = Where(cloud, region or "", project or "")
    limits = infra_run.limits("15m", "15m", lock_timeout)
    infra_run.destroy(name, where, limits, yes=yes, force=force, as_json=as_json)


@app.command("ls")
def list_fleets(
    cloud: o.Cloud = None,
    project: o.Project = None,
    region: o.Region = None,
    all_regions: Annotated[bool, typer.Option("--all-regions", help="Every region of the cloud, by tag.")] = False,
    as_json: o.Json = False,
) -> None:
    """The fleets of this machine; with --cloud, those that carry our tags there, whoever made them."""
    from . import infra_run
    from .infra_tags import Where

    infra_run.list_fleets(Where(cloud, region or "", project or ""), everywhere=all_regions, as_json=as_json)


@app.command()
def gc(
    cloud: o.Cloud = None,
    project: o.Project = None,
    region: o.Region = None,
    all_regions: Annotated[bool, typer.Option("--all-regions", help="Every region of the cloud.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove them; without it they are only listed.")] = False,
    all_owners: Annotated[bool, typer.Option("--all-owners", help="Those that others rented, too.")] = False,
    as_json: o.Json = False,
) -> None:
    """Find fleets past their deadline by tag alone, and with --yes remove those that you rented."""
    from .infra_tags import Where, collect

    if cloud is None:
        raise UsageError("Which cloud?", fix="Add --cloud aws, gcp or docker.")
    where = Where(cloud, region or "", project or "")
    collect(where, everywhere=all_regions, yes=yes, all_owners=all_owners, as_json=as_json)
