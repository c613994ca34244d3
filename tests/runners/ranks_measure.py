"""One rank of test_raw: measures a tiny plan over the backends of a run's spec, as a run does."""

import os
import sys
from pathlib import Path

from mlb.results.raw import RawPlan
from mlb.results.run import RunFolder
from mlb.results.writer import EventLog
from mlb.runners import raw
from mlb.runners.group import ProcessGroup

rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
folder = RunFolder(Path(sys.argv[2]))
spec = folder.read_spec()
raw.plan_of = lambda _goal: RawPlan(("float32", "bfloat16"), (1, 100), 0.001)
group = ProcessGroup.join(spec.backend)
log = EventLog(
    folder.rank_events(rank), rank=rank, local_rank=rank, world_size=ranks, node=0, run_id="r", launched_unix_ns=0
)
raw.measure(spec, group, log)
log.close()
group.leave()
