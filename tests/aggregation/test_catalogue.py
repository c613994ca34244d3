"""What users can write after --aggregation, and what they are told when it cannot be."""

import inspect
from importlib import import_module

import pytest
from mlb.aggregation.catalogue import DEFAULT, PATTERNS, check_optimiser, parse, to_json
from mlb.errors import UsageError
from mlb.option import describe


def test_defaults_are_filled_in_and_not_written() -> None:
    choice = parse("topk:ratio=0.5:error_feedback=yes")
    assert dict(choice.options) == {"ratio": 0.5, "error_feedback": True}
    assert str(choice) == "topk:ratio=0.5"
    assert str(parse(str(choice))) == str(choice)
    assert str(parse("ddp:find_unused=1:bucket_mb=0")) == "ddp:find_unused=yes"
    assert str(parse(DEFAULT)) == DEFAULT == "allreduce"


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_takes_the_options_it_lists(name: str) -> None:
    info = PATTERNS[name]
    taken = inspect.signature(getattr(import_module(f"mlb.aggregation.{info.module}"), info.class_name)).parameters
    given = {option.name: option.default for option in info.options} | dict(info.fixed)
    assert set(taken) == {"model", "exchange", *given} or set(taken) > {"model", "exchange", *given}
    for option in info.options:
        assert option.parse(str(option.default)) == option.default
    assert len(describe(info.options)) == max(1, len(to_json(info)["options"]))


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("gosip", "Did you mean 'gossip'?", "Aggregations: allreduce, layerwise, ddp"),
        ("", "no aggregation ''", "Aggregations: allreduce"),
        ("allreduce:period=3", "has no option 'period=3'", "allreduce has no options."),
        ("topk:ratoi=0.1", "Did you mean 'ratio'?", "ratio=0.01"),
        ("topk:ratio", "has no option 'ratio'", "Written topk:OPTION=VALUE"),
        ("topk:ratio=3", "cannot be '3'", "a number above 0 to 1"),
        ("topk:ratio=0", "cannot be '0'", "a number above 0 to 1"),
        ("topk:ratio=nan", "cannot be 'nan'", "a number above 0 to 1"),
        ("topk:ratio=x", "cannot be 'x'", "a number above 0 to 1"),
        ("ssp:staleness=-1", "cannot be '-1'", "a whole number from 0"),
        ("ssp:staleness=1.5", "cannot be '1.5'", "a whole number from 0"),
        ("qsgd:bits=3", "cannot be '3'", "one of 2, 4, 8"),
        ("gossip:graph=star", "cannot be 'star'", "one of ring, torus"),
        ("ddp:find_unused=perhaps", "cannot be 'perhaps'", "yes or no"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(text: str, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert what in refused.value.what
    assert fix in refused.value.fix


@pytest.mark.parametrize(
    ("text", "ranks", "why"),
    [
        ("ps:servers=3", 2, "3 servers on 2 ranks"),
        ("hierarchical:ranks_per_node=2", 3, "3 ranks cannot be 2 on each node"),
        ("gossip:graph=torus", 5, "5 ranks cannot be laid out as a torus"),
        ("gossip:edges=0-1+2-3", 4, "does not connect the 4 ranks"),
        ("gossip:edges=0-4", 4, "does not join two of the ranks 0 to 3"),
        ("gossip:edges=0-x", 4, "'0-x' is not an edge"),
    ],
)
def test_what_does_not_fit_the_ranks_is_refused(text: str, ranks: int, why: str) -> None:
    parse(text)
    with pytest.raises(UsageError, match=why):
        parse(text, ranks)


@pytest.mark.parametrize(("bits", "block", "multiple"), [(4, 9, 2), (2, 10, 4), (2, 9, 4)])
def test_a_block_has_to_fill_its_bytes(bits: int, block: int, multiple: int) -> None:
    """It once failed in the first step."""
    with pytest.raises(UsageError, match=f"make block a multiple of {multiple}"):
        parse(f"qsgd:bits={bits}:block={block}")
    parse(f"qsgd:bits={bits}:block={block // multiple * multiple + multiple}")
    parse(f"qsgd:bits=8:block={block}")
    parse(f"int8:block={block}")


def test_a_pattern_that_cannot_train_with_an_optimiser_says_so() -> None:
    check_optimiser(PATTERNS["fsdp"], "task1a", "recipe")
    check_optimiser(PATTERNS["zero1"], "task1a", "muon")
    with pytest.raises(UsageError) as refused:
        check_optimiser(PATTERNS["fsdp"], "task1a", "lamb")
    assert refused.value.what == "The aggregation fsdp does not fit a run of task1a that trains with lamb."
    assert "norms are of whole tensors" in (refused.value.why or "")
    assert "Take one of allreduce, layerwise, ddp, zero1" in refused.value.fix
    assert "any but lamb, lars, muon" in refused.value.fix


def test_threads_that_serve_need_gloo() -> None:
    parse("ssp", 2, "gloo")
    with pytest.raises(UsageError, match="works over gloo, not over nccl"):
        parse("ssp", 2, "nccl")
