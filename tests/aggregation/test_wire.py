"""The bytes that a pattern says it sends, against the counters of real network interfaces."""

import os
import shutil
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CHECKED = (
    "allreduce", "ddp", "zero1", "fsdp", "hierarchical:ranks_per_node=1", "ps", "gossip", "weights", "fp16:bucket_mb=1",
    "topk:ratio=0.2", "int8",
)  # fmt: skip


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and iproute2")
def test_the_interfaces_counted_what_the_formulas_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "patterns", raising=False)
    import patterns

    for pattern, found in patterns.measure(3, 0, CHECKED, steps=2).items():
        assert found["nic"] == pytest.approx(patterns.with_headers(found["formula"], 0), rel=0.03), pattern
