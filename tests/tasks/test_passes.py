"""Steps in several passes, of ranks whose shares differ: the ranks meet once a step, over the sum of all passes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.results.log import read_log
from support import example_spec

pytestmark = pytest.mark.system

RECIPE = {
    "blocks": "1-1", "width": 4, "classes": 3, "images_per_step": 21, "images_per_pass": 5, "optimiser": "sgd",
    "learning_rate": 0.1, "warmup_epochs": 0.0, "side": 16, "first_side": 16, "eval_resized": 20, "eval_side": 16,
}  # fmt: skip
"""Of two ranks one has 10 images in a step, which fill two passes, and one has 11."""
EXACT = ["allreduce", "ddp", "ddp:find_unused=yes", "fsdp"]
NEAR = {"fp16": 2e-3, "bf16": 2e-2, "powersgd:start=2:min_rate=1:rank=64": 1e-3}
"""How far the weights may be off."""


@pytest.fixture(scope="module")
def trained(run_ranks: Callable[..., Path], few_images: Path) -> Callable[[int, str, int], Any]:
    patterns = {1: ["allreduce"], 2: [*EXACT, *NEAR]}
    folders: dict[int, Path] = {}

    def found(world: int, pattern: str, rank: int) -> Any:
        """Weights and the events of the steps."""
        if world not in folders:
            arguments = (str(few_images), json.dumps(asdict(example_spec(ranks=world))), json.dumps(RECIPE))
            script = Path(__file__).with_name("ranks_passes.py")
            folders[world] = run_ranks(script, world, *arguments, json.dumps(patterns[world]))
        path = folders[world] / f"{patterns[world].index(pattern)}-{rank}"
        steps = [event.fields for event in read_log(path.with_suffix(".jsonl")).events if event.key == "step"]
        return torch.load(path.with_suffix(".pt"), weights_only=True), steps

    return found


@pytest.mark.parametrize("pattern", [*EXACT, *NEAR])
def test_ranks_of_unequal_shares_train_as_one_process(trained: Callable[[int, str, int], Any], pattern: str) -> None:
    """One rank once made two passes and the other three, whose collectives then met those of the next step."""
    expected, _ = trained(1, "allreduce", 0)
    for rank in (0, 1):
        weights, _ = trained(2, pattern, rank)
        torch.testing.assert_close(weights, expected, rtol=0, atol=NEAR.get(pattern, 2e-5))


@pytest.mark.parametrize("pattern", [*EXACT, *NEAR])
def test_a_step_of_three_passes_sends_what_one_pass_sends(
    trained: Callable[[int, str, int], Any], pattern: str
) -> None:
    """The last step has one pass a rank, those before it three; only PowerSGD sends less after its start."""
    for rank in (0, 1):
        _, steps = trained(2, pattern, rank)
        assert [step["samples"] for step in steps] == [*[10 + rank] * 4, 3]
        if pattern.startswith("powersgd"):
            steps = steps[2:]
        (sent,) = {step["bytes_reduced"] for step in steps}
        assert sent > 0
        assert len({len(step["collective_bytes"]) for step in steps[1:]}) == 1
