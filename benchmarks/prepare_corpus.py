"""How fast, and in how much memory, parallel text is prepared: python benchmarks/prepare_corpus.py [PAIRS] [FOLDER].

Makes a corpus of PAIRS sentence pairs (4,600,000: as many as WMT17 has; made-up words whose frequencies follow Zipf's
law, 25 a sentence on average, from one seed) below FOLDER, which must have room for 5 GB, and prepares it with
`mlb data prepare task4b --data own-corpus --from`: once; once more, where everything is there (`--part whole`); and in
another cache, killed on the way and started again (`--part killed`). Printed: pairs per second, the most memory that
all its processes had together (proportional set sizes: what they share counts once), and whether the files are the
same to the bit.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from common import machine

_WORDS = 150_000
_WRITTEN_TOGETHER = 20_000


def corpus(folder: Path, pairs: int) -> None:
    """train, valid and test in both languages; what is there is not made again."""
    done = folder / f"pairs-{pairs}"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for split, count in (("train", pairs), ("valid", 3_000), ("test", 3_000)):
        for side in ("en", "de"):
            with (folder / f"{split}.{side}").open("w") as file:
                file.writelines(_sentences(count, f"{split}.{side}"))
    done.touch()


def _sentences(count: int, name: str) -> Iterator[str]:
    random = np.random.default_rng(list(name.encode()))
    words = _words(name.rpartition(".")[2])
    for first in range(0, count, _WRITTEN_TOGETHER):
        lengths = random.gamma(4.0, 6.25, min(_WRITTEN_TOGETHER, count - first)).astype(int).clip(1, 120)
        numbers = (_WORDS ** random.random(int(lengths.sum()))).astype(int) - 1  # the n-th word comes 1 / n as often
        chosen = [words[number] for number in numbers.tolist()]
        ends = np.concatenate([[0], lengths.cumsum()])
        yield "".join(" ".join(chosen[a:b]) + "\n" for a, b in pairwise(ends.tolist()))


@cache
def _words(language: str) -> list[str]:
    """Words of one to five syllables, the short ones first, as in languages."""
    random = np.random.default_rng(list(language.encode()))
    vowels = "aeiouäöü" if language == "de" else "aeiou"
    syllables = [a + b + c for a in "bdfgklmnprst" for b in vowels for c in ("", "n", "r", "s", "st")]
    sizes = (1 + 4.0 * np.arange(_WORDS) / _WORDS + random.random(_WORDS)).astype(int).clip(1, 5).tolist()
    drawn = random.integers(0, len(syllables), (_WORDS, 5)).tolist()
    return ["".join(syllables[i] for i in row[:size]) for row, size in zip(drawn, sizes, strict=True)]


def prepare(folder: Path, home: Path, *, kill_after_s: float | None = None) -> tuple[float, int, dict[str, object]]:
    """Seconds, most bytes of memory, and mlb's answer; the answer is empty where it is killed on the way."""
    options = ["data", "prepare", "task4b", "--data", "own-corpus", "--from", str(folder), "--json"]
    start, most = time.perf_counter(), 0
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "mlb", *options],
        stdout=subprocess.PIPE, env={**os.environ, "MLB_HOME": str(home)}, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        while running.poll() is None:
            most = max(most, _memory(running.pid))
            time.sleep(0.1)
            if kill_after_s is not None and time.perf_counter() - start > kill_after_s:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
                return time.perf_counter() - start, most, {}
        seconds = time.perf_counter() - start
        answer = running.communicate()[0]
    if running.returncode:
        raise SystemExit(running.returncode)
    return seconds, most, json.loads(answer)


def _memory(pid: int) -> int:
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:
        pass  # one ended meanwhile: the next look counts
    return total


def checksums(answer: dict[str, object]) -> dict[str, str]:
    """Of every file, as written down when it was made; the files are looked at when they are used."""
    files = json.loads((Path(str(answer["path"])) / "meta.json").read_text())["files"]
    return {name: entry["sha256"] for name, entry in files.items()}


def whole(folder: Path, root: Path, pairs: int) -> bool:
    """Prepare it, and once more; whether both gave the same files."""
    shutil.rmtree(root / "first", ignore_errors=True)
    seconds, most, first = prepare(folder, root / "first")
    print(f"prepared      {seconds:7.1f} s  {pairs / seconds:8,.0f} pairs/s  at most {most / 1e9:.2f} GB")
    print(f"              {first['counts']}, left out: {first['skipped']}", flush=True)
    (root / "first.json").write_text(json.dumps({**first, "seconds": seconds}))
    seconds, most, again = prepare(folder, root / "first")
    print(f"run again     {seconds:7.1f} s  at most {most / 1e9:.2f} GB, {_same(first, again)}", flush=True)
    return checksums(first) == checksums(again)


def killed(folder: Path, root: Path) -> bool:
    """Kill it on the way and start it again; whether that gave the files of `whole`."""
    first = json.loads((root / "first.json").read_text())
    shutil.rmtree(root / "second", ignore_errors=True)
    seconds, _, answer = prepare(folder, root / "second", kill_after_s=0.6 * first["seconds"])
    if answer:
        print(f"not killed: it was through after {seconds:.1f} s; run --part whole again, on the machine as it is now")
        return False
    print(f"killed after  {seconds:7.1f} s", flush=True)
    seconds, most, rest = prepare(folder, root / "second")
    print(f"started again {seconds:7.1f} s  at most {most / 1e9:.2f} GB, {_same(first, rest)}")
    return checksums(first) == checksums(rest)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("pairs", nargs="?", type=int, default=4_600_000)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--part", choices=("whole", "killed", "both"), default="both")
    chosen = parser.parse_args()
    root = chosen.folder or Path(tempfile.mkdtemp(prefix="mlb-corpus-"))
    folder = root / "own-corpus"
    start = time.perf_counter()
    corpus(folder, chosen.pairs)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(machine())
    print(f"{chosen.pairs:,} pairs, {size / 1e9:.2f} GB, made in {time.perf_counter() - start:.0f} s", flush=True)
    sound = chosen.part == "killed" or whole(folder, root, chosen.pairs)
    return 0 if sound and (chosen.part == "whole" or killed(folder, root)) else 1


def _same(one: dict[str, object], other: dict[str, object]) -> str:
    return "the same files" if checksums(one) == checksums(other) else "OTHER FILES"


if __name__ == "__main__":
    sys.exit(main())
