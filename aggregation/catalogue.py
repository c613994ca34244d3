"""The patterns there are, their options and what they fit, known without torch: the CLI's only door to this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ..errors import UsageError
from ..option import Option, Options, options_in_words, read_named, written


@dataclass(frozen=True)
class PatternInfo:
    """One communication pattern."""

    name: str
    about: str
    """One line for people."""
    module: str
    """The file of this room that has it, imported on the nodes only."""
    class_name: str
    exact: bool
    """Whether every step uses the mean of all ranks' gradients: it trains as all-reduce does, but for rounding."""
    options: tuple[Option, ...] = ()
    fixed: Options = field(default_factory=dict)
    """What makes the class this pattern rather than another one of its."""
    backends: tuple[str, ...] = ()
    """Those it works on; empty for all."""
    resumable: bool = False
    """Whether a checkpoint of the task is all that a run needs to go on: the pattern remembers nothing."""
    unfit: Callable[[Options, int], str | None] = lambda _options, _ranks: None
    """What is wrong with options that are valid one by one, on so many ranks; None if nothing is."""
    together: Callable[[Options], str | None] = lambda _options: None
    """What is wrong with them on any number of ranks; None if nothing is."""
    not_with: Mapping[str, str] = field(default_factory=dict)
    """Optimisers, by the names of tasks/optimisers.py, that the pattern cannot train with -> why."""


@dataclass(frozen=True)
class Choice:
    """A pattern with all its options: what `--aggregation` says."""

    info: PatternInfo
    options: Options

    def __str__(self) -> str:
        """As it is written, without the options that have their default."""
        changed = [o.name for o in self.info.options if self.options[o.name] != o.default]
        return ":".join([self.info.name, *(f"{name}={written(self.options[name])}" for name in changed)])


def _graph_trouble(options: Options, ranks: int) -> str | None:
    from .graphs import connected, parse_edges, torus_rows  # numpy comes in here

    if options["edges"]:
        try:
            edges = parse_edges(str(options["edges"]), ranks)
        except ValueError as error:
            return str(error)
        return None if connected(edges, ranks) else f"the graph does not connect the {ranks} ranks"
    if options["graph"] == "torus" and torus_rows(ranks) < 2:
        return f"{ranks} ranks cannot be laid out as a torus, whose sides are both at least 2: use graph=ring"
    return None


def _nodes_trouble(options: Options, ranks: int) -> str | None:
    inside = options["ranks_per_node"]
    assert isinstance(inside, int)
    return f"{ranks} ranks cannot be {inside} on each node" if inside and ranks % inside else None


def _servers_trouble(options: Options, ranks: int) -> str | None:
    servers = options["servers"]
    assert isinstance(servers, int)
    return f"{servers} servers on {ranks} ranks: a server is one of the ranks" if servers > ranks else None


def _block_trouble(options: Options) -> str | None:
    block, bits = options["block"], options["bits"]
    assert isinstance(block, int)
    assert isinstance(bits, int)
    if block % (8 // bits):
        return f"{block} entries of {bits} bits are no whole bytes: make block a multiple of {8 // bits}"
    return None


_NOT_IN_SHARDS: Final = MappingProxyType(
    {
        "lamb": "its norms are of whole tensors, and ranks have shards of them",
        "lars": "its norms are of whole tensors, and ranks have shards of them",
        "muon": "it needs whole matrices, and every product of shards would wait for the other ranks",
    }
)

_BUCKET = Option("bucket_mb", 0.0, "size of a bucket of gradients, MiB; 0: torch's 25, the first 1", low=0)
_UNUSED = Option("find_unused", False, "allow parameters without a part in the loss")
_MEMORY = Option("error_feedback", True, "remember what a message leaves out")
_RATIO = Option("ratio", 0.01, "share of the gradient's entries that is sent", low=0, high=1, above_low=True)
_BITS = Option("bits", 8, "of one entry", choices=(2, 4, 8))
_BLOCK = Option("block", 512, "entries that share a scale", low=8)

PATTERNS: Final[Mapping[str, PatternInfo]] = MappingProxyType(
    {
        info.name: info
        for info in (
            PatternInfo(
                "allreduce", "one blocking all-reduce of everything", "all_reduce", "BlockingAllReduce", True,
                resumable=True,
            ),
            PatternInfo(
                "layerwise", "a blocking all-reduce for each tensor", "all_reduce", "LayerwiseAllReduce", True,
                resumable=True,
            ),
            PatternInfo(
                "ddp", "torch's DDP: buckets under the backward pass", "ddp", "OverlappedDDP", True, (_BUCKET, _UNUSED),
                resumable=True,
            ),
            PatternInfo("zero1", "reduce-scatter, sharded optimiser, all-gather", "zero", "ShardedOptimiser", True),
            PatternInfo(
                "fsdp", "torch's FSDP2: everything in shards", "fsdp", "FullyShardedDDP", True,
                not_with=_NOT_IN_SHARDS,
            ),
            PatternInfo(
                "hierarchical", "all-reduce inside nodes, then between", "hierarchical", "HierarchicalAllReduce", True,
                (Option("ranks_per_node", 0, "ranks that share fast links; 0: as launched", low=0),),
                resumable=True,
                unfit=_nodes_trouble,
            ),
            PatternInfo(
                "ps", "synchronous parameter server", "parameter_server", "ParameterServer", True,
                (Option("servers", 1, "ranks that serve a part each", low=1),),
                resumable=True,
                unfit=_servers_trouble,
            ),
            PatternInfo(
                "ssp", "asynchronous parameter server, bounded staleness", "stale", "StaleParameterServer", False,
                (Option("staleness", 4, "steps the fastest rank may be ahead", low=0),),
                backends=("gloo",),
            ),
            PatternInfo(
                "gossip", "weights mixed with neighbours on a graph (D-PSGD)", "gossip", "Gossip", False,
                (
                    Option("graph", "ring", "the neighbours", choices=("ring", "torus", "exponential", "complete")),
                    Option("edges", "", "a graph of your own: 0-1+1-2"),
                ),
                unfit=_graph_trouble,
            ),
            PatternInfo(
                "weights", "weights averaged after every step", "weights", "LocalSGD", False,
                fixed={"period": 1},
            ),
            PatternInfo(
                "localsgd", "weights averaged now and then", "weights", "LocalSGD", False,
                (
                    Option("period", 8, "steps between averages", low=1),
                    Option("start", 0, "steps averaged one by one first (post-local SGD)", low=0),
                ),
            ),
            PatternInfo(
                "diloco", "local steps, then one outer Nesterov step", "weights", "DiLoCo", False,
                (
                    Option("period", 20, "inner steps to an outer one", low=1),
                    Option("outer_lr", 0.7, "learning rate of the outer step", low=0, above_low=True),
                    Option("outer_momentum", 0.9, "its momentum", low=0, high=1),
                ),
            ),
            PatternInfo(
                "fp16", "DDP with gradients in float16", "ddp", "HalfPrecisionDDP", False, (_BUCKET, _UNUSED, _MEMORY)
            ),
            PatternInfo(
                "bf16", "DDP with gradients in bfloat16", "ddp", "BFloat16DDP", False, (_BUCKET, _UNUSED, _MEMORY)
            ),
            PatternInfo(
                "powersgd", "DDP with gradients as products of low rank", "ddp", "PowerSGD", False,
                (
                    Option("rank", 2, "rank of the approximation", low=1),
                    Option("start", 10, "steps in full first", low=2),
                    Option("min_rate", 2.0, "compress where it saves at least this factor", low=1),
                    _BUCKET,
                    _UNUSED,
                ),
            ),
            PatternInfo("topk", "the largest entries", "compression", "TopK", False, (_RATIO, _MEMORY)),
            PatternInfo("randomk", "random entries, all-reduced", "compression", "RandomK", False, (_RATIO, _MEMORY)),
            PatternInfo("sign", "one bit an entry, by majority vote", "compression", "SignVote", False, (_MEMORY,)),
            PatternInfo(
                "qsgd", "few bits an entry, rounded at random", "compression", "Quantised", False,
                (
                    _BITS, _BLOCK, Option("error_feedback", False, "remember what a message leaves out"),
                ),
                fixed={"stochastic": True},
                together=_block_trouble,
            ),
            PatternInfo(
                "int8", "8 bits an entry, rounded to the nearest", "compression", "Quantised", False, (_BLOCK, _MEMORY)
            ),
        )
    }
)  # fmt: skip

DEFAULT: Final = "allreduce"


def parse(text: str, ranks: int | None = None, backend: str | None = None) -> Choice:
    """What `NAME[:OPTION=VALUE[:…]]` means.

    Args:
        ranks: of the run, where it is known: options that do not fit it are then refused.
        backend: likewise.

    Raises:
        UsageError: no such pattern or option, or a value that cannot be; says what is valid.
    """
    name, options = read_named("aggregation", text, {name: info.options for name, info in PATTERNS.items()})
    info = PATTERNS[name]
    if trouble := info.together(options):
        raise UsageError(
            f"The options of the aggregation {text!r} do not go together: {trouble}.",
            fix=options_in_words(name, info.options),
        )
    trouble = info.unfit(options, ranks) if ranks is not None else None
    if backend is not None and info.backends and backend not in info.backends:
        trouble = f"it works over {', '.join(info.backends)}, not over {backend}"
    if trouble:
        raise UsageError(
            f"The aggregation {text!r} does not fit this run: {trouble}.", fix=options_in_words(name, info.options)
        )
    return Choice(info, options)


def check_optimiser(info: PatternInfo, task: str, optimiser: str) -> None:
    """Refuse a pattern that cannot train with an optimiser.

    Args:
        optimiser: by the names of tasks/optimisers.py; `recipe` is the task's own.

    Raises:
        UsageError: says why, and what is valid.
    """
    if optimiser not in info.not_with:
        return
    able = [name for name, other in PATTERNS.items() if other.exact and optimiser not in other.not_with]
    raise UsageError(
        f"The aggregation {info.name} does not fit a run of {task} that trains with {optimiser}.",
        why=f"Of {optimiser}: {info.not_with[optimiser]}.",
        fix=f"Take one of {', '.join(able)}, or --set optimiser= any but {', '.join(info.not_with)}.",
    )


def to_json(info: PatternInfo) -> dict[str, Any]:
    """A pattern as plain data."""
    options = [{"name": o.name, "default": o.default, "valid": o.valid, "about": o.about} for o in info.options]
    return {"name": info.name, "about": info.about, "exact": info.exact, "options": options}
