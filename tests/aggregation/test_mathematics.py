"""Every pattern on real gloo ranks, in float64, against the formula worked out by one process alone."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mlb.aggregation.catalogue import PATTERNS
from mlb.aggregation.graphs import GRAPHS, mixing_matrix
from mlb.tasks.optimisers import library_of
from torch import Tensor
from training import BY_NAME, STEPS, global_batch, local_steps, net, weights

pytestmark = pytest.mark.system

ELEMENTS = weights(net()).numel()
BYTES = 8 * ELEMENTS
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
"""Sums in another order: nothing else may differ."""
NO_CLIP = 0.0

EXACT = ["allreduce", "layerwise", "ddp:find_unused=yes", "zero1", "fsdp", "ps", "ps:servers=2", "hierarchical"]
AVERAGED = ["weights", "localsgd:period=1", "ssp:staleness=0", "topk:ratio=1", "randomk:ratio=1"]
GRAPHS_OF = {2: ["ring"], 3: ["complete"], 4: ["torus"], 5: ["ring", "exponential"]}
SIXTEEN_BITS = ["fp16:find_unused=yes", "bf16:find_unused=yes"]
DILOCO = "diloco:period=2:outer_lr=0.5:outer_momentum=0.9"
LOCAL = "localsgd:period=3:start=1"
HIERARCHY = "hierarchical:ranks_per_node={}"
POWERSGD = "powersgd:rank={}:start=2:min_rate=1:find_unused=yes"
SMALL_BUCKETS = POWERSGD.format(1) + ":bucket_mb=0.0001"


def ring(ranks: int, payload: float) -> float:
    return 2 * (ranks - 1) / ranks * payload


# (17, 3), (17,), (7,), (1,), (2, 1, 3), (2, 30): matrices as (rows, the rest), if (n + m) r < n m.
FACTORS = 8 * ((17 + 3) + 17 + 7 + 1 + (2 + 3) + (2 + 30))
UNUSED = 7
TENSORS = len(list(net().parameters()))
USED_MAP = 4 * TENSORS
"""Which parameters were used: what DDP sums where some may not be."""


def sharded(ranks: int) -> int:
    """Bytes of all shards: rows are shared out, and filled up with zeros to a multiple of the ranks."""
    return 8 * sum(-(-len(p) // ranks) * ranks * (p.numel() // len(p)) for p in net().parameters())


def periodic(payload: float, *when: int) -> list[float]:
    return [payload if step in when else 0.0 for step in range(STEPS)]


VOLUMES: dict[tuple[str, int], float | list[float]] = {
    ("allreduce", 3): ring(3, BYTES),
    ("layerwise", 3): ring(3, BYTES),
    ("ddp:find_unused=yes", 3): ring(3, BYTES + USED_MAP),
    # The gradients' reduce-scatter and the weights' all-gather.
    ("zero1", 3): ring(3, BYTES),
    # On gloo the reduce-scatter sends as an all-reduce does; what has no gradient is not in it.
    ("fsdp", 3): ring(3, sharded(3) - 8 * -(-UNUSED // 3) * 3) + 2 / 3 * sharded(3),
    ("ps", 3): 2 * 2 / 3 * BYTES,
    # Each level on what it works on, padded to a multiple of the two ranks inside: 1/2 + 2/2 * 1/2 + 1/2.
    (HIERARCHY.format(2), 4): 1.5 * 8 * (ELEMENTS + ELEMENTS % 2),
    ("weights", 3): ring(3, BYTES),
    # Of a period of 3 after one step, and of 2.
    (LOCAL, 3): periodic(ring(3, BYTES), 0, 3),
    (DILOCO, 2): periodic(ring(2, BYTES), 1, 3),
    (POWERSGD.format(1), 2): [ring(2, BYTES + USED_MAP)] * 2 + [ring(2, FACTORS + USED_MAP)] * (STEPS - 2),
    ("gossip", 4): 2 * BYTES,
    ("gossip:graph=complete", 3): 2 * BYTES,
    ("gossip:edges=0-1+1-2", 3): 4 / 3 * BYTES,
    ("ssp:staleness=2", 3): 2 * 2 / 3 * BYTES,
    # Places of 4 bytes and values of 8, to the two others.
    ("topk:ratio=0.1", 3): 2 * 12 * -(-ELEMENTS // 10),
    ("randomk:ratio=0.1", 3): ring(3, 8 * -(-ELEMENTS // 10)),
    ("sign", 3): 2 * (-(-ELEMENTS // 8) + 8),
    ("qsgd:bits=4:block=16", 3): 2 * -(-ELEMENTS // 16) * (8 + 8),
    ("int8:block=16", 3): 2 * -(-ELEMENTS // 16) * (16 + 8),
    ("fp16:find_unused=yes", 3): ring(3, 2 * ELEMENTS + USED_MAP),
    ("bf16:find_unused=yes", 3): ring(3, 2 * ELEMENTS + USED_MAP),
}

LAYERED = [(2, optimiser, NO_CLIP) for optimiser in BY_NAME]

Case = tuple[str, str, float]


def plain(*patterns: str) -> set[Case]:
    return {(pattern, "plain", NO_CLIP) for pattern in patterns}


CASES: dict[int, set[Case]] = {
    1: {(name, "sgd", NO_CLIP) for name in PATTERNS},
    2: {(pattern, optimiser, NO_CLIP) for pattern in [*EXACT, HIERARCHY.format(1)] for optimiser in ("adam", *BY_NAME)}
    | plain(*SIXTEEN_BITS, DILOCO, SMALL_BUCKETS, *(POWERSGD.format(rank) for rank in (1, 3))),
    3: {(pattern, "sgd", 0.25) for pattern in EXACT} | {("zero1", "adam", NO_CLIP)} | plain(*AVERAGED, LOCAL),
    4: {(HIERARCHY.format(inside), "adam", NO_CLIP) for inside in (2, 4)},
    5: {(pattern, "sgd", 0.25) for pattern in EXACT},
    8: {("zero1", "adam", 0.25)},
}
for volume_pattern, volume_world in VOLUMES:
    CASES[volume_world] |= plain(volume_pattern)
for graph_world, names in GRAPHS_OF.items():
    CASES[graph_world] |= plain(*(f"gossip:graph={name}" for name in names))


@dataclass
class Outcome:
    track: list[Tensor]
    """Weights after each step."""
    evaluated: Tensor
    final: Tensor
    told: list[tuple[str, int]]
    outside: list[tuple[str, int]]
    """Told between steps: of an evaluation and of the end."""
    handed_over: list[int]
    sent: list[float]
    state: int


Train = Callable[..., list[Outcome]]


@pytest.fixture(scope="module")
def train(run_ranks: Callable[..., Path]) -> Train:
    """The ranks' outcomes of a case; all cases of a world are trained by one set of processes, one after another."""
    folders: dict[int, Path] = {}

    def outcomes(world: int, pattern: str, optimiser: str = "plain", clip: float = NO_CLIP) -> list[Outcome]:
        cases = sorted(CASES[world])
        if world not in folders:
            folders[world] = run_ranks(Path(__file__).with_name("ranks_pattern.py"), world, json.dumps(cases))
        number = cases.index((pattern, optimiser, clip))
        raw = [torch.load(folders[world] / f"gloo-{number}-{rank}.pt", weights_only=True) for rank in range(world)]
        assert not any("error" in found for found in raw), [found.get("error") for found in raw]
        return [checked(Outcome(**found), Outcome(**raw[0])) for found in raw]

    return outcomes


def checked(outcome: Outcome, first: Outcome) -> Outcome:
    """What holds for all patterns: the final weights are those an evaluation saw, on every rank, and the logs agree."""
    torch.testing.assert_close(outcome.final, first.final, rtol=0, atol=0)
    torch.testing.assert_close(outcome.evaluated, outcome.final, rtol=0, atol=0)
    assert outcome.told == first.told
    assert sum(outcome.handed_over) == sum(payload for _, payload in outcome.told)
    return outcome


def test_no_exact_pattern_is_left_out() -> None:
    assert {name.split(":")[0] for name in EXACT} == {info.name for info in PATTERNS.values() if info.exact}


@pytest.mark.parametrize(
    ("pattern", "world", "optimiser", "clip"),
    [
        (pattern, *case)
        for case in [(2, "adam", NO_CLIP), (3, "sgd", 0.25), (5, "sgd", 0.25), *LAYERED]
        for pattern in EXACT
        if case[1] not in PATTERNS[pattern.split(":")[0]].not_with
    ],
)
def test_exact_patterns_train_as_one_process_with_the_global_batch(
    train: Train, pattern: str, world: int, optimiser: str, clip: float
) -> None:
    if library := library_of(optimiser):
        pytest.importorskip(library)
    want = global_batch(world, optimiser, clip)
    for outcome in train(world, pattern, optimiser, clip):
        torch.testing.assert_close(outcome.final, want, **CLOSE)


@pytest.mark.parametrize(("pattern", "world"), VOLUMES)
def test_bytes_are_the_formulas(train: Train, pattern: str, world: int) -> None:
    for outcome in train(world, pattern):
        steps = [after - before for before, after in zip([0.0, *outcome.sent], outcome.sent, strict=False)]
        # A mean over ranks that is told to the observer is in whole bytes.
        volume = VOLUMES[pattern, world]
        assert steps == pytest.approx(volume if isinstance(volume, list) else [volume] * STEPS, abs=1)


def test_no_pattern_is_without_a_formula() -> None:
    assert {text.split(":")[0] for text, _ in VOLUMES} == set(PATTERNS)


def test_zero_sends_a_number_more_where_gradients_are_clipped(train: Train) -> None:
    for outcome in train(3, "zero1", "sgd", 0.25):
        assert outcome.told == [("reduce_scatter", BYTES), ("all_reduce", 8), ("all_gather", BYTES)] * STEPS
        assert outcome.sent[-1] == pytest.approx(STEPS * (ring(3, BYTES) + ring(3, 8)))
    assert train(3, "zero1")[0].told == [("reduce_scatter", BYTES), ("all_gather", BYTES)] * STEPS


@pytest.mark.parametrize(
    ("pattern", "once"),
    [
        ("weights", [("all_reduce", BYTES)]),
        ("ssp:staleness=2", [("barrier", 0), ("broadcast", BYTES)]),
        ("topk:ratio=0.1", []),
    ],
)
def test_what_an_evaluation_exchanges_is_told_apart_from_the_steps(
    train: Train, pattern: str, once: list[tuple[str, int]]
) -> None:
    for outcome in train(3, pattern):
        assert outcome.outside == once * 2


def test_powersgd_sends_its_factors_and_what_is_too_small_to_compress(train: Train) -> None:
    first = train(2, POWERSGD.format(1))[0]
    assert first.handed_over == [BYTES + USED_MAP] * 2 + [FACTORS + USED_MAP] * (STEPS - 2)


def test_powersgd_takes_many_buckets(train: Train) -> None:
    first = train(2, SMALL_BUCKETS)[0]
    assert len(first.told) > 3 * STEPS
    assert first.handed_over[-1] == train(2, POWERSGD.format(1))[0].handed_over[-1]


def test_powersgd_of_full_rank_is_the_mean(train: Train) -> None:
    for outcome in train(2, POWERSGD.format(3)):
        torch.testing.assert_close(outcome.final, global_batch(2, "plain"), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("world", "inside"), [(2, 1), (4, 2), (4, 4)])
def test_hierarchies_of_every_shape(train: Train, world: int, inside: int) -> None:
    for outcome in train(world, HIERARCHY.format(inside), "adam"):
        torch.testing.assert_close(outcome.final, global_batch(world, "adam"), **CLOSE)


def test_zero_keeps_each_state_once(train: Train) -> None:
    """Adam's two moments of every element, on one rank each."""
    outcomes = train(3, "zero1", "adam")
    assert sum(outcome.state for outcome in outcomes) == 2 * ELEMENTS
    assert max(outcome.state for outcome in outcomes) < ELEMENTS


def test_zero_takes_ranks_that_own_no_parameter(train: Train) -> None:
    """Six parameters on eight ranks."""
    outcomes = train(8, "zero1", "adam", 0.25)
    assert sum(outcome.state == 0 for outcome in outcomes) == 2
    torch.testing.assert_close(outcomes[7].final, global_batch(8, "adam", 0.25), **CLOSE)


@pytest.mark.parametrize("pattern", AVERAGED)
def test_averaging_after_every_step_is_all_reduce(train: Train, pattern: str) -> None:
    """For an optimiser that is linear in the gradient; so are sparsified patterns that send everything."""
    for outcome in train(3, pattern):
        torch.testing.assert_close(outcome.final, global_batch(3, "plain"), **CLOSE)


def test_local_sgd_averages_every_period_after_its_start(train: Train) -> None:
    outcomes = train(3, LOCAL)
    each = [weights(net())] * 3
    for step in range(STEPS):
        each = [local_steps(w, rank, step, step + 1) for rank, w in enumerate(each)]
        if step in (0, 3):
            each = [torch.stack(each).mean(dim=0)] * 3
        for outcome, want in zip(outcomes, each, strict=True):
            torch.testing.assert_close(outcome.track[step], want, **CLOSE)
    torch.testing.assert_close(outcomes[0].final, torch.stack(each).mean(dim=0), **CLOSE)


def test_diloco_takes_nesterovs_step_on_the_mean_change(train: Train) -> None:
    outcomes = train(2, DILOCO)
    shared, velocity = weights(net()), torch.zeros(ELEMENTS, dtype=torch.float64)
    for first in (0, 2):
        ends = torch.stack([local_steps(shared, rank, first, first + 2) for rank in range(2)])
        change = shared - ends.mean(dim=0)
        velocity = 0.9 * velocity + change
        shared = shared - 0.5 * (change + 0.9 * velocity)
        torch.testing.assert_close(outcomes[1].track[first + 1], shared, **CLOSE)


@pytest.mark.parametrize(("graph", "world"), [(g, n) for n, graphs in GRAPHS_OF.items() for g in graphs])
def test_gossip_mixes_by_its_matrix(train: Train, graph: str, world: int) -> None:
    """w <- W (w - step), rank by rank; the mean over the ranks is not moved by mixing."""
    outcomes = train(world, f"gossip:graph={graph}")
    matrix = torch.from_numpy(mixing_matrix(GRAPHS[graph](world), world))
    each = torch.stack([weights(net())] * world)
    for step in range(STEPS):
        stepped = torch.stack([local_steps(w, rank, step, step + 1) for rank, w in enumerate(each)])
        each = matrix @ stepped
        torch.testing.assert_close(each.mean(dim=0), stepped.mean(dim=0), **CLOSE)
        for outcome, want in zip(outcomes, each, strict=True):
            torch.testing.assert_close(outcome.track[step], want, **CLOSE)


def test_stale_ranks_end_with_the_servers_weights(train: Train) -> None:
    """Which changes a rank has seen depends on the moment; that all end with the same does not (`checked`)."""
    first = train(3, "ssp:staleness=2")[0]
    assert torch.isfinite(first.final).all()
    assert not torch.equal(first.final, weights(net()))


@pytest.mark.parametrize("pattern", SIXTEEN_BITS)
def test_sixteen_bits_with_memory_stay_near_the_exact_training(train: Train, pattern: str) -> None:
    first, want = train(2, pattern)[0], global_batch(2, "plain")
    torch.testing.assert_close(first.final, want, rtol=0, atol=2e-3)
    assert not torch.equal(first.final, want)


@pytest.mark.parametrize("pattern", [*PATTERNS])
def test_one_rank_trains_alone(train: Train, pattern: str) -> None:
    outcome = train(1, pattern, "sgd")[0]
    torch.testing.assert_close(outcome.final, global_batch(1, "sgd"), **CLOSE)
    assert outcome.told == []
