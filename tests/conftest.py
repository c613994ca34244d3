"""What several rooms' tests share."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import browser as browser  # one for all rooms: Playwright starts once in a process
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# An example that takes long on a busy machine has found no mistake.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """A shell starts its background jobs with SIGINT ignored, and they hand that on to every process of the tests."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The tests' tensors are tiny: more threads wait for each other, on a busy machine five times as long as one."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: MLB_DATA_DIR, else `shared/data` beside the checkout."""
    for folder in (os.environ.get("MLB_DATA_DIR"), ROOT.parent / "shared" / "data"):
        if folder and (Path(folder) / "wikitext-2").is_dir():
            return Path(folder)
    reason = "no WikiText-2 here: set MLB_DATA_DIR to a folder that holds wikitext-2/"
    if "data" in os.environ.get("MLB_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def mlb_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for everything mlb writes, and none of the user's settings."""
    for name in [name for name in os.environ if name.startswith("MLB_") and name != "MLB_REQUIRE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared data set: 64 words, a few thousand tokens."""
    from mlb.datasets.prepare import prepare

    prepared = prepare(
        "synthetic",
        vocabulary=64,
        data_dir=None,
        cache_dir=tmp_path_factory.mktemp("cache"),
        train_tokens=4_000,
        valid_tokens=1_003,
        test_tokens=907,
    )
    return prepared.path


@pytest.fixture(scope="session")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 and 61 images of 32 x 32 in ten classes, each class with a colour of its own under noise."""
    import numpy as np
    from task_support import prepared

    random = np.random.default_rng(5)
    arrays = {}
    for split, n in (("train", 200), ("test", 61)):
        labels = random.integers(0, 10, n).astype("|u1")
        images = random.integers(0, 60, (n, 3, 32, 32)) + (labels * 19)[:, None, None, None]
        arrays |= {split: images.astype("|u1"), f"{split}_labels": labels}
    return prepared(tmp_path_factory.mktemp("images"), arrays)


@pytest.fixture(scope="session")
def small_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 and 83 rows of 12 features, divided by a hyperplane."""
    import numpy as np
    from task_support import prepared

    random = np.random.default_rng(6)
    weights = random.normal(size=12)
    arrays = {}
    for split, n in (("train", 500), ("test", 83)):
        rows = random.normal(size=(n, 12)).astype("<f4")
        arrays |= {split: rows, f"{split}_labels": (rows @ weights > 0).astype("|u1")}
    return prepared(tmp_path_factory.mktemp("rows"), arrays)


@pytest.fixture(scope="session")
def small_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80, 9 and 5 sentence pairs of up to six words, translated word by word."""
    from mlb.datasets.prepare import prepare

    root = tmp_path_factory.mktemp("pairs")
    (root / "own-corpus").mkdir()
    for split, n in (("train", 80), ("valid", 9), ("test", 5)):
        for side, words in (("en", "red green blue dog cat"), ("de", "rot grün blau Hund Katze")):
            lines = [" ".join(words.split()[(i * k) % 5] for k in range(1, 2 + i % 6)) for i in range(n)]
            (root / "own-corpus" / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines))
    return prepare("own-corpus", vocabulary=256, data_dir=root, cache_dir=root / "cache").path


@pytest.fixture(scope="module")
def run_ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs a script of the tests on real ranks, under torchrun; gives the folder the ranks wrote to.

    Called as `run_ranks(script, world, *arguments, **environment)`; the script gets the folder and the arguments.
    """

    def run(script: Path, world: int, *arguments: str, **variables: str) -> Path:
        out = tmp_path_factory.mktemp(f"ranks-{world}")
        torchrun = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--local-addr=127.0.0.1",
            f"--nproc-per-node={world}",
        ]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"} | variables
        command = [sys.executable, "-P", *torchrun, str(script), str(out), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return out

    return run
