"""How fast, and in how much memory, parallel text is prepared: python benchmarks/prepare_corpus.py [PAIRS] [FOLDER].

Makes a corpus of PAIRS sentence pairs (4,600,000: as many as WMT17 has; made-up words whose frequencies follow Zipf's
law, 25 a sentence on average, from one seed) below FOLDER, which must have room for 5 GB, and prepares it with
`mlb data prepare task4b --data own-corpus --from`: once; once more, where everything is there; and in another cache,
killed on the way and started again. Printed: pairs per second, the most memory that all its processes had together
(proportional set sizes: what they share counts once), and whether the files are the same to the bit.
"""

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


def main() -> int:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 4_600_000
    root = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="mlb-corpus-"))
    folder = root / "own-corpus"
    start = time.perf_counter()
    corpus(folder, pairs)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(machine())
    print(f"{pairs:,} pairs, {size / 1e9:.2f} GB, made in {time.perf_counter() - start:.0f} s", flush=True)
    for name in ("first", "second"):
        shutil.rmtree(root / name, ignore_errors=True)
    whole_s, most, first = prepare(folder, root / "first")
    print(f"prepared      {whole_s:7.1f} s  {pairs / whole_s:8,.0f} pairs/s  at most {most / 1e9:.2f} GB")
    print(f"              {first['counts']}, left out: {first['skipped']}", flush=True)
    again_s, most, again = prepare(folder, root / "first")
    print(f"run again     {again_s:7.1f} s  at most {most / 1e9:.2f} GB, {_same(first, again)}", flush=True)
    cut_s, _, _ = prepare(folder, root / "second", kill_after_s=0.7 * whole_s)
    rest_s, most, rest = prepare(folder, root / "second")
    print(f"killed after  {cut_s:7.1f} s")
    print(f"started again {rest_s:7.1f} s  at most {most / 1e9:.2f} GB, {_same(first, rest)}")
    return 0 if checksums(first) == checksums(again) == checksums(rest) else 1


def _same(one: dict[str, object], other: dict[str, object]) -> str:
    return "the same files" if checksums(one) == checksums(other) else "OTHER FILES"


if __name__ == "__main__":
    sys.exit(main())
