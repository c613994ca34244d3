"""A run.json from a stranger: read where a run could have made it, refused at once with what is wrong where not."""

import json
import re
import time
from typing import Any

import pytest
from mlb.errors import ResultsInvalid
from mlb.results.run import RunFolder
from support import example_spec

WRONG = {
    "ranks that would keep a reader for hours": ({"ranks": 2_000_000}, "ranks is 2000000; 1 to 10,000 are possible"),
    "no ranks": ({"ranks": 0}, "ranks is 0; 1 to 10,000"),
    "more nodes than ranks": ({"nodes": 3}, "nodes is 3; the 2 ranks are spread evenly over 1 to 2 nodes"),
    "ranks that do not divide": ({"ranks": 4, "nodes": 3}, "nodes is 3"),
    "no nodes": ({"nodes": 0}, "nodes is 0"),
    "ranks in words": ({"ranks": "2"}, "ranks is str '2'"),
    "a truth for a number": ({"nodes": True}, "nodes is bool True"),
    "half a rank": ({"ranks": 2.5}, "ranks is float 2.5"),
    "a number beyond all": ({"created_unix_ns": 10**400}, "created_unix_ns is int 1000"),
    "a target beyond all": ({"target": 10**400}, "target is int 1000"),
    "numbers for words": ({"argv": [1]}, r"argv is tuple \(1,\)"),
    "a number for a list": ({"beside": 5}, "beside is int 5"),
    "changes in a list": ({"changes": ["a"]}, "changes is tuple"),
    "no task": ({"task": None}, "task is NoneType None"),
    "a rent of wrong types": ({"rent": {"nodes": "two"}}, "rent is Rent"),
    "a price list": ({"rent": [1]}, "rent"),
}


def written(tmp_path: Any, **changes: Any) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    raw = {**vars(example_spec()), "ranks": 2, "nodes": 1, **changes}
    folder.spec.write_text(json.dumps(raw))
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_what_no_run_can_have_is_refused_at_once(tmp_path: Any, name: str) -> None:
    changes, said = WRONG[name]
    began = time.monotonic()
    with pytest.raises(ResultsInvalid) as refused:
        written(tmp_path, **changes).read_spec()
    assert time.monotonic() - began < 5
    assert re.search(said, refused.value.why), refused.value.why


def test_what_a_run_writes_is_read(tmp_path: Any) -> None:
    spec = written(tmp_path, ranks=10_000, nodes=5, target=300, rent={"nodes": 5, "usd_per_hour": 1}).read_spec()
    assert (spec.ranks_per_node, spec.target) == (2000, 300)
    assert spec.rent is not None
