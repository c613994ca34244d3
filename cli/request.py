"""A request for a run: its fields are the options of every command that starts runs, declared here alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer
from typer.models import OptionInfo

from ..aggregation.catalogue import DEFAULT as DEFAULT_AGGREGATION
from ..errors import UsageError, did_you_mean
from . import config
from .console import note
from .options import DataDir, Offline, Oversubscribe, Queue, RequireTransport, SkipHealth, Wheelhouse
from .options import FleetName as FleetName


@dataclass(frozen=True)
class Request:
    """What the user asked for; None is "choose for me". A field with a `typer.Option` is an option."""

    task: str
    goal: Annotated[str | None, typer.Option(help="full, light or smoke.")] = None
    ranks: Annotated[int | None, typer.Option(help="Processes on each node; a GPU each where there are GPUs.")] = None
    backend: Annotated[str | None, typer.Option(help="gloo, mpi, nccl or ucc.")] = None
    recipe: Annotated[str | None, typer.Option(help="reference, fast or custom (the reference, changed).")] = None
    settings: Annotated[
        tuple[str, ...], typer.Option("--set", metavar="KEY=VALUE", help="Change a hyperparameter; the run is open.")
    ] = ()
    """`key=value`, as typed."""
    aggregation: Annotated[
        str, typer.Option(help="Communication pattern: NAME[:OPTION=VALUE[:...]]; `mlb bench patterns` shows them.")
    ] = DEFAULT_AGGREGATION
    data: Annotated[str, typer.Option(help="real, or the name of a data set that stands in for it.")] = "real"
    data_dir: DataDir = None
    seed: Annotated[int | None, typer.Option(help="Seed of weights, dropout and data order; repeats count up.")] = None
    max_epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="End after so many epochs, goal or not.")
    ] = None
    max_steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="End after so many training steps, goal or not.")
    ] = None
    checkpoint_steps: Annotated[
        int | None, typer.Option("--checkpoint", min=1, metavar="STEPS", help="Save the state after every so many.")
    ] = None
    fleet: FleetName = None
    nodes: Annotated[int | None, typer.Option(min=1, help="Only so many of the fleet's nodes.")] = None
    gpus: Annotated[int | None, typer.Option(min=1, help="Only so many GPUs of each node.")] = None
    queue: Queue = False
    hang_after_s: Annotated[
        float,
        typer.Option(
            "--hang-after", min=1, help="Seconds without progress that count as a hang (six times as long off steps)."
        ),
    ] = 300.0
    skip_health: SkipHealth = False
    require_transport: RequireTransport = None
    wheelhouse: Wheelhouse = None
    offline: Offline = False
    oversubscribe: Oversubscribe = False
    measure_overhead: Annotated[
        bool,
        typer.Option("--measure-overhead", help="Leave half of the steps unmeasured, to say what measuring costs."),
    ] = False
    measure_every: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Measure ten steps, then leave ten times N-1 unmeasured, and so on."),
    ] = 1
    global_batch: int | None = None
    """Of all ranks together; None for the recipe's batch on each rank."""
    run_id: str = ""
    """Its name, where it was given one before its start; else it gets one of its own."""


@dataclass(frozen=True)
class RequestOption:
    """A field of `Request` that is an option."""

    field: Field[Any]
    hint: Any
    info: OptionInfo

    @property
    def flag(self) -> str:
        """As it is typed, without its dashes: `hang-after`, `set`."""
        declared = self.info.param_decls or (self.info.default,)
        return declared[0].lstrip("-") if isinstance(declared[0], str) else self.field.name.replace("_", "-")


def request_options() -> dict[str, RequestOption]:
    """The options of a request, by their field."""
    hints = get_type_hints(Request, include_extras=True)
    found = {}
    for field in fields(Request):
        infos = [one for one in getattr(hints[field.name], "__metadata__", ()) if isinstance(one, OptionInfo)]
        if infos:
            found[field.name] = RequestOption(field, hints[field.name], infos[0])
    return found


def takes_request(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a request.

    The command has an argument `given`, in whose place it gets what was typed: `request_from` makes the request of it.

    Args:
        without: fields that the command sets itself.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {name: option for name, option in request_options().items() if name not in without}

        def run(**typed: Any) -> None:
            command(given={name: typed.pop(name) for name in options}, **typed)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if parameter.name == "given":
                parameters += [_parameter(option) for option in options.values()]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def request_from(task: str, given: dict[str, Any]) -> Request:
    """The request that was typed; what was not comes from the settings.

    Raises:
        UsageError: an option's or a setting's value is not valid, or a setting's variable is misspelt.
    """
    for name in config.meaningless_variables():
        note(f"warning: {name} is set and means nothing to mlb")
    values = {name: config.value(name, value) if name in config.SETTINGS else value for name, value in given.items()}
    _refuse_what_no_run_can_have(values)
    return Request(task, **{**values, "settings": tuple(given.get("settings") or ())})


def typed(given: dict[str, Any]) -> list[str]:
    """The options that were given on the command line, as they are typed."""
    options = request_options()
    return [f"--{options[name].flag}" for name, value in given.items() if was_given(name, value)]


def was_given(name: str, value: Any) -> bool:
    """Whether an option's value is another one than it has where it is left out."""
    return value not in (None, (), [], _default(name))


def _refuse_what_no_run_can_have(values: dict[str, Any]) -> None:
    """What would be found out on the nodes only, or on none of them."""
    for name, value in values.items():
        endless = isinstance(value, float) and not math.isfinite(value)
        if endless or (type(value) is int and abs(value) >= 2**63):
            raise UsageError(
                f"--{request_options()[name].flag} cannot be {value}.", fix="It has to be a finite number below 2^63."
            )
    if transport := values.get("require_transport"):
        from ..provisioner.health_gate import NETWORKS

        if transport not in NETWORKS:
            raise UsageError(
                f"There is no transport {transport!r}.{did_you_mean(transport, NETWORKS)}",
                fix=f"--require-transport takes {', '.join(NETWORKS)}.",
            )


def _default(name: str) -> Any:
    """What an option is where it is not given: a setting's default comes from the settings."""
    default = request_options()[name].field.default
    return None if name in config.SETTINGS or default is MISSING else default


def _parameter(option: RequestOption) -> inspect.Parameter:
    inner, *_ = option.hint.__args__ if hasattr(option.hint, "__metadata__") else (option.hint,)
    name = option.field.name
    if name == "settings":
        inner = list[str] | None
    elif name in config.SETTINGS:
        inner = inner | None
    default = None if name == "settings" else _default(name)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[inner, option.info]
    )
