"""Mutations of a good archive, each rejected with its sentence; honest runs, all accepted."""

# ruff: noqa: E501  # the tables have one mutation a line

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlb.errors import ResultsInvalid
from mlb.results.archive import pack, unpacked
from mlb.results.metrics import compute
from mlb.results.run import RunFolder, write_json
from mlb.results.verify import Reference, across, verify
from stories import LAUNCHED, MS, Run, S, Story, small_run

Lines = list[dict[str, Any]]

CLOSED = {"recipe": "reference", "division": "closed", "comparable": True, "dataset": "wikitext-2"}
REFERENCE = Reference("validation perplexity", 300.0, True, 12, "reference", True, {"dropout": 0.4})


def good(path: Path, **spec: Any) -> RunFolder:
    """A closed run that reached its goal, as `mlb bench` leaves it."""
    folder = small_run(path, **{**CLOSED, **spec}).folder
    write_json(folder.metrics, compute(folder).to_json())
    return folder


# --- what a cheat, a broken disk or a bug would do -------------------------------------------------------------------


def log(change: Callable[[Lines], Lines | None], rank: int = 0) -> Callable[[RunFolder], None]:
    """Rewrite one rank's log."""

    def mutate(folder: RunFolder) -> None:
        path = folder.rank_events(rank)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = change(lines) or lines
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return mutate


def logs(change: Callable[[Lines], Lines | None]) -> Callable[[RunFolder], None]:
    def mutate(folder: RunFolder) -> None:
        for rank in (0, 1):
            log(change, rank)(folder)

    return mutate


def renumbered(change: Callable[[Lines], Lines | None]) -> Callable[[Lines], Lines]:
    """As a careful cheat would: the line numbers are made whole again."""

    def apply(lines: Lines) -> Lines:
        lines = change(lines) or lines
        return [{**line, "seq": i} for i, line in enumerate(lines)]

    return apply


def find(lines: Lines, key: str, nth: int = 0) -> dict[str, Any]:
    return [line for line in lines if line["key"] == key][nth]


def setting(key: str, nth: int = 0, **fields: Any) -> Callable[[Lines], None]:
    return lambda lines: find(lines, key, nth).update(fields)


def shifted(key: str, nth: int, field: str, by: int) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        line = find(lines, key, nth)
        line[field] += by

    return change


def without(key: str, nth: int | None = None) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        gone = [line for line in lines if line["key"] == key]
        gone = gone if nth is None else [gone[nth]]
        return [line for line in lines if not any(line is one for one in gone)]

    return change


def moved(key: str, nth: int, before: str) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        line = find(lines, key, nth)
        rest = [other for other in lines if other is not line]
        at = next(i for i, other in enumerate(rest) if other["key"] == before)
        return [*rest[:at], line, *rest[at:]]

    return change


def spec(**changes: Any) -> Callable[[RunFolder], None]:
    def mutate(folder: RunFolder) -> None:
        raw = json.loads(folder.spec.read_text())
        folder.spec.write_text(json.dumps({**raw, **changes}))

    return mutate


def claims(change: Callable[[dict[str, Any]], object]) -> Callable[[RunFolder], None]:
    def mutate(folder: RunFolder) -> None:
        raw = json.loads(folder.metrics.read_text())
        change(raw)
        folder.metrics.write_text(json.dumps(raw))

    return mutate


def node(**changes: Any) -> Callable[[RunFolder], None]:
    def mutate(folder: RunFolder) -> None:
        path = folder.node_status(0)
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return mutate


def also_computed(*mutations: Callable[[RunFolder], None]) -> Callable[[RunFolder], None]:
    """The cheat computes metrics.json anew, so that it agrees with the changed logs."""

    def mutate(folder: RunFolder) -> None:
        for one in mutations:
            one(folder)
        write_json(folder.metrics, compute(folder).to_json())

    return mutate


def append(rank: int, data: bytes) -> Callable[[RunFolder], None]:
    def mutate(folder: RunFolder) -> None:
        with folder.rank_events(rank).open("ab") as file:
            file.write(data)

    return mutate


def truncate(rank: int, size: int) -> Callable[[RunFolder], None]:
    def mutate(folder: RunFolder) -> None:
        data = folder.rank_events(rank).read_bytes()
        folder.rank_events(rank).write_bytes(data[:size])

    return mutate


def faster(lines: Lines) -> Lines:
    """All times after run_start come sooner, the wall clock at the end stays."""
    start = find(lines, "run_start")["time_ns"]
    for line in lines:
        if line["time_ns"] > start:
            line["time_ns"] = start + (line["time_ns"] - start) // 2
            for name in ("start_ns",):
                if name in line:
                    line[name] = start + (line[name] - start) // 2
            kept = ("time_ns", "start_ns", "unix_time_ns")
            for name in [n for n, v in line.items() if n.endswith("_ns") and n not in kept and isinstance(v, int)]:
                line[name] //= 2
    return lines


def met_early(lines: Lines) -> None:
    find(lines, "eval_accuracy", 0)["value"] = 299.0


def both(*changes: Callable[[Lines], Lines | None]) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        for one in changes:
            lines = one(lines) or lines
        return lines

    return change


MUTATIONS: dict[str, tuple[Callable[[RunFolder], None], str]] = {
    # metrics.json
    "a better time to target": (claims(lambda m: m.update(time_to_target_s=1.0)), "metrics.json says time_to_target_s 1.0"),
    "a better quality": (claims(lambda m: m["quality"]["best"].update(value=1.0)), "metrics.json says quality.best.value 1.0"),
    "a better throughput": (claims(lambda m: m["throughput"].update(tokens_per_s=9e9)), "throughput.tokens_per_s"),
    "a split that is nicer": (claims(lambda m: m["time"]["mean"]["percent"].update(communication=0.0)), "time.mean.percent.communication"),
    "a failure called a success": (node(state="failed"), "metrics.json says status goal reached; the logs say failed"),
    "more ranks": (claims(lambda m: m.update(ranks=64)), "metrics.json says ranks 64; the logs say 2"),
    "metrics that are no JSON": (lambda f: f.metrics.write_text("{"), "metrics.json cannot be read"),
    # run.json
    "an easier target": (also_computed(spec(target=500.0)), "run.json has target 500.0"),
    "another metric": (also_computed(spec(metric="training perplexity")), "run.json has metric training perplexity"),
    "more epochs than allowed": (also_computed(spec(max_epochs=99)), "run.json has max_epochs 99"),
    "fewer epochs than trained": (also_computed(spec(max_epochs=1)), "trained 2 epochs; it was allowed 1"),
    "another run's spec": (spec(run_id="b-run"), "run.json is of run b-run"),
    "a rank kept quiet": (also_computed(spec(ranks=1)), "says that it is of world_size 2, not 1"),
    "synthetic data called closed": (also_computed(spec(dataset="synthetic")), "calls a run comparable that is closed, on synthetic"),
    "steps cut, called closed": (also_computed(spec(max_steps=10)), "calls a run comparable"),
    "open called comparable": (also_computed(spec(division="open")), "calls a run comparable that is open"),
    "a changed recipe, called closed": (also_computed(log(setting("hyperparameter", value=0.1))), "trained with dropout 0.1; the recipe has 0.4"),
    "another recipe, called closed": (also_computed(spec(recipe="fast")), "run.json has recipe fast"),
    "an option that changes the recipe": (spec(argv=["mlb", "bench", "task3a", "--set", "lr=1"]), "A closed run was started with --set"),
    "launched before it was asked for": (spec(created_unix_ns=LAUNCHED + S), "launched before it was asked for"),
    "a spec with a field more": (spec(blessed=True), "run.json is incomplete or was edited"),
    "no spec": (lambda f: f.spec.write_text("nothing"), "not a readable run folder"),
    # whole logs
    "a rank missing": (also_computed(lambda f: f.rank_events(1).unlink()), "The log of rank 1 is missing"),
    "a rank's log twice": (also_computed(lambda f: f.rank_events(1).write_bytes(f.rank_events(0).read_bytes())), "says that it is of rank 0, not 1"),
    "a log of another run": (also_computed(log(setting("log_start", run_id="b-run"), rank=1)), "of run_id b-run"),
    "a log that was cut off": (also_computed(truncate(1, 3000)), "torn line"),
    "a line of rubbish": (also_computed(append(0, b"rubbish\n")), "has 1 corrupt line"),
    "a line taken out": (also_computed(logs(without("step", 4))), "has 1 missing line"),
    "a line taken out, renumbered": (also_computed(logs(renumbered(without("step", 4)))), "step 4 calls itself 5"),
    "a line said twice": (also_computed(append(0, b'{"key":"note","seq":3,"time_ns":1}\n')), "repeated or misplaced line"),
    "an empty log": (also_computed(lambda f: f.rank_events(0).write_bytes(b"")), "rank 0 has no log_start"),
    "a log of another format": (log(setting("log_start", schema_version=9)), "is in format 9"),
    # time
    "a clock that runs backwards": (also_computed(log(shifted("epoch_stop", 0, "time_ns", -9 * S))), "its clock runs backwards"),
    "a faster run": (also_computed(logs(faster)), "two clocks that disagree"),
    "an evaluation earlier": (also_computed(logs(shifted("eval_accuracy", 1, "time_ns", -2 * S))), "its clock runs backwards"),
    "a step that is shorter": (also_computed(log(shifted("step", 6, "step_ns", -100 * MS))), "the phases of step 6 do not add up"),
    "communication that vanished": (also_computed(log(setting("step", 5, communication_ns=0))), "the phases of step 5 do not add up"),
    "two steps at once": (also_computed(log(both(shifted("step", 6, "start_ns", -400 * MS), shifted("step", 6, "time_ns", -400 * MS)))), "before the last one ends"),
    "a log before the launch": (also_computed(log(shifted("log_start", 0, "unix_time_ns", -60 * S))), "before the launch"),
    "a node that stopped before": (also_computed(node(stopped_unix_ns=LAUNCHED - S)), "stopped before it started"),
    "a node that ran at another time": (node(started_unix_ns=LAUNCHED + 30 * S, rank_pids={"0": 100}), "outside the time in which its node's agent ran"),
    # results
    "the goal met after run_stop": (also_computed(logs(renumbered(moved("run_stop", 0, before="eval_start")))), "comes after run_stop"),
    "an evaluation that is better": (logs(setting("eval_accuracy", 1, value=100.0)), "metrics.json says quality"),
    "a better evaluation on one rank": (also_computed(log(setting("eval_accuracy", 1, value=100.0))), "measured different qualities"),
    "a goal that was met before": (also_computed(logs(met_early)), "went on after the goal was met"),
    "no evaluation, but a goal": (also_computed(logs(setting("eval_accuracy", 1, value=301.0))), "no evaluation in the logs reaches it"),
    "an evaluation that never ran": (also_computed(logs(renumbered(without("eval_stop", 1)))), "results of 2 evaluations"),
    "no run_start": (also_computed(logs(renumbered(without("run_start")))), "before run_start"),
    "a run_start later": (also_computed(logs(renumbered(moved("run_start", 0, before="run_stop")))), "before run_start"),
    "two run_starts": (also_computed(log(renumbered(lambda x: [*x[:9], find(x, "run_start"), *x[9:]]))), "has 2 events run_start"),
    "success without a goal": (also_computed(logs(setting("run_stop", reason="epochs"))), "run_stop has the status success and the reason epochs"),
    "the ranks disagree on the end": (also_computed(log(setting("run_stop", reason="epochs", status="aborted"))), "do not agree on the reason of the end"),
    "other parameters on one rank": (also_computed(log(setting("parameter_digest", value="other"))), "ended with different parameters"),
    "no digest": (also_computed(logs(renumbered(without("parameter_digest")))), "not shown that the ranks ended with one model"),
    "a step after the end": (also_computed(logs(renumbered(moved("step", 9, before="parameter_digest")))), "comes after run_stop"),
    "a rank with fewer steps": (also_computed(log(renumbered(without("step", 9)))), "do not agree on the number of steps"),
    "more samples than the batch": (also_computed(log(renumbered(lambda x: [x[0], {**x[4], "key": "global_batch_size", "value": 8}, *x[1:]]))), "the global batch is 8"),
    "no word from the node": (also_computed(lambda f: f.node_status(0).unlink()), "No node's status is there"),
    "a node that succeeded and died": (also_computed(node(failures=[{"rank": 0, "pid": 1, "exit_code": 1, "seen_unix_ns": 1, "collateral": False, "message": "", "last_lines": []}])), "succeeded and that ranks died"),
}  # fmt: skip


def test_the_good_run_is_sound(tmp_path: Path) -> None:
    assert verify(good(tmp_path), REFERENCE).faults == ()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_rejected_with_its_sentence(tmp_path: Path, name: str) -> None:
    mutate, sentence = MUTATIONS[name]
    folder = good(tmp_path)
    mutate(folder)
    verdict = verify(folder, REFERENCE)
    assert not verdict.sound
    assert any(sentence in fault for fault in verdict.faults), verdict.faults


def test_there_are_forty_of_them() -> None:
    assert len(MUTATIONS) >= 40
    assert all(sentence for _, sentence in MUTATIONS.values())


# --- honest runs -----------------------------------------------------------------------------------------------------


def honest(path: Path, kind: str, seed: int) -> RunFolder:
    """Runs that ended in every way a run can end."""
    run_id = f"{kind}-{seed}"
    story = (
        Story(0, run_id=run_id, clock_ns=(seed + 1) * S)
        .wait(S)
        .start(world_size=1)
        .stage("import", S)
        .event("run_start")
    )
    changes: dict[str, Any] = {"run_id": run_id, "seed": seed, "ranks": 1}
    status = "succeeded"
    for step in range(3 + seed):
        story.step(*[(1 + seed + phase) * MS for phase in range(7)], warmup=step < 2)
    if kind == "goal":
        story.event("epoch_stop", epoch_num=1).evaluate(250.0, S).event("run_stop", status="success", reason="goal")
        story.evaluate(260.0, S, epoch=0, split="test").event("parameter_digest", value="abc").stop()
    elif kind == "missed":
        story.evaluate(350.0, S).event("run_stop", status="aborted", reason="epochs").stop()
    elif kind == "steps":
        changes["max_steps"] = 3 + seed
        story.event("run_stop", status="aborted", reason="steps").event("parameter_digest", value="abc").stop()
    elif kind == "stopped":
        story.event("run_stop", status="aborted", reason="stopped").stop()
        status = "stopped"
    else:
        story.event("failure", kind="ValueError", message="no", collateral=False).stop()
        status = "failed"
    run = Run(path, **changes).tell(story).node(state=status)
    write_json(run.folder.metrics, compute(run.folder).to_json())
    return run.folder


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["goal", "missed", "steps", "stopped", "failed"])
def test_an_honest_run_is_accepted(tmp_path: Path, kind: str, seed: int) -> None:
    folder = honest(tmp_path, kind, seed)
    pack(folder, tmp_path / "run.mlb.zip")
    with unpacked(tmp_path / "run.mlb.zip") as opened:
        assert verify(opened).faults == ()


def test_what_the_checks_measured_before_the_run_is_packed_with_it(tmp_path: Path) -> None:
    """The report holds the run's bandwidth against it, so it is a claim like any other."""
    folder = good(tmp_path)
    folder.health.write_text(json.dumps({"all_reduce": {"bus_bits_per_s": 8e6, "large_bytes": 4_194_304}}))
    write_json(folder.metrics, compute(folder).to_json())
    pack(folder, tmp_path / "run.mlb.zip")
    with unpacked(tmp_path / "run.mlb.zip") as opened:
        assert verify(opened).faults == ()
        claims(lambda m: m["probe"].update(bus_bytes_per_s=1.0))(opened)
        assert "metrics.json says probe.bus_bytes_per_s 1.0" in verify(opened).faults[0]


def test_repeats_are_compared(tmp_path: Path) -> None:
    first, second = honest(tmp_path, "goal", 1), honest(tmp_path, "goal", 2)
    assert across([(verify(f), f) for f in (first, second)]) == []
    assert "is the same run as" in across([(verify(f), f) for f in (first, first)])[0]
    write_json(second.spec, replace(second.read_spec(), seed=1))
    assert any("has the seed 1 of goal-1" in fault for fault in across([(verify(f), f) for f in (first, second)]))
    copied = first.rank_events(0).read_text().replace("goal-1", "goal-2")
    second.rank_events(0).write_text(copied)
    assert any("very same step times" in fault for fault in across([(verify(f), f) for f in (first, second)]))


# --- archives --------------------------------------------------------------------------------------------------------


def archive(path: Path) -> Path:
    file = path / "run.mlb.zip"
    pack(good(path), file)
    return file


def rewritten(file: Path, change: Callable[[dict[str, bytes]], object], *, manifest: bool = False) -> None:
    """Change the members; with `manifest`, write the checksums anew."""
    with zipfile.ZipFile(file) as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    if manifest:
        files = {
            name[4:]: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), "files": files}).encode()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in members.items():
            out.writestr(name, data)


def in_manifest(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), **changes}).encode()

    return change


ARCHIVES: dict[str, tuple[Callable[[dict[str, bytes]], object], bool, str]] = {
    "a changed log": (lambda m: m.update({"run/events/rank-00000.jsonl": m["run/events/rank-00000.jsonl"] + b"\n"}), False, "bytes; the manifest says"),
    "a flipped bit": (lambda m: m.update({"run/run.json": m["run/run.json"].replace(b"43", b"44")}), False, "not what the manifest's checksum says"),
    "a file less": (lambda m: m.pop("run/events/rank-00001.jsonl"), False, "It lacks events/rank-00001.jsonl"),
    "a file more": (lambda m: m.update({"run/logs/rank-00009.log": b""}), False, "It has, unlisted, logs/rank-00009.log"),
    "no manifest": (lambda m: m.pop("manifest.json"), False, "It has no manifest.json"),
    "a manifest that is no JSON": (lambda m: m.update({"manifest.json": b"{"}), False, "manifest.json cannot be read"),
    "a manifest without files": (in_manifest(files=None), False, "manifest.json cannot be read"),
    "another kind of archive": (in_manifest(kind="something"), False, "of kind 'something'"),
    "a later format": (in_manifest(schema_version=2), False, "format 2"),
    "a run's name that is a path": (in_manifest(run_id="../../etc"), False, "no run's name"),
    "a zip slip": (lambda m: m.update({"run/../../evil": b"x"}), True, "leads out of the folder"),
    "an absolute path": (lambda m: m.update({"/etc/evil": b"x"}), True, "leads out of the folder"),
    "a backslash": (lambda m: m.update({"run\\..\\evil": b"x"}), True, "leads out of the folder"),
    "a foreign file": (lambda m: m.update({"run/setup.py": b"x"}), True, "is no file of a run"),
    "a hidden folder": (lambda m: m.update({"run/events/.ssh/id": b"x"}), True, "is no file of a run"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_changed_archive_is_refused(tmp_path: Path, name: str) -> None:
    change, manifest, sentence = ARCHIVES[name]
    file = archive(tmp_path)
    rewritten(file, change, manifest=manifest)
    before = sorted(tmp_path.parent.rglob("*evil*"))
    with pytest.raises(ResultsInvalid) as refused, unpacked(file):
        pass
    assert sentence in str(refused.value)
    assert sorted(tmp_path.parent.rglob("*evil*")) == before


def test_ten_gigabytes_of_zeros_are_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        info = zipfile.ZipInfo("run/events/rank-00000.jsonl")
        info.compress_type = zipfile.ZIP_DEFLATED
        with out.open(info, "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
        info.file_size = 10 << 30  # in the directory at the end: what it claims
    with pytest.raises(ResultsInvalid, match=r"claims to hold 10\.0 GiB; the limit is 4\.0 GiB"), unpacked(file):
        pass


def test_more_than_is_claimed_is_not_unpacked(tmp_path: Path) -> None:
    file = archive(tmp_path)
    data = file.read_bytes()
    # The sizes that the directory claims, made smaller: 43 bytes for the longest log.
    with zipfile.ZipFile(file) as source:
        info = source.getinfo("run/events/rank-00000.jsonl")
    real, small = info.file_size.to_bytes(4, "little"), (43).to_bytes(4, "little")
    assert data.count(real) >= 1
    file.write_bytes(data.replace(real, small))
    with pytest.raises(ResultsInvalid), unpacked(file):
        pass


def test_a_link_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path)
    with zipfile.ZipFile(file, "a") as out:
        info = zipfile.ZipInfo("run/logs/rank-00007.log")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(ResultsInvalid, match="no regular file"), unpacked(file):
        pass


@pytest.mark.parametrize("data", [b"", b"PK", b"#!/bin/sh\n", bytes(1000)])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file.zip"
    file.write_bytes(data)
    with pytest.raises(ResultsInvalid, match="cannot be read as a ZIP"), unpacked(file):
        pass


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = good(tmp_path)
    (folder.path / "pids").mkdir(exist_ok=True)
    (folder.path / "id_ed25519").write_text("secret")
    (folder.logs / "rank-00000.log").symlink_to("/etc/passwd")
    pack(folder, tmp_path / "a.zip")
    pack(folder, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as made:
        assert not [name for name in made.namelist() if "id_" in name or name.endswith("rank-00000.log")]
    with unpacked(tmp_path / "a.zip") as opened:
        assert compute(opened).to_json() == compute(folder).to_json()
