"""What gets shipped: nothing but `mlb`, all of it, and it runs from any folder."""

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_packages_are_the_folders_with_an_init() -> None:
    folders = {"mlb"} | {f"mlb.{p.parent.name}" for p in ROOT.glob("*/__init__.py")}
    assert set(SETUPTOOLS["packages"]) == folders


def test_rooms_are_one_level_deep() -> None:
    deep = [p for p in ROOT.glob("*/*/**/__init__.py") if ".venv" not in p.parts]
    assert not deep


def test_no_stray_module_at_the_root() -> None:
    # Any other *.py there would be shipped as part of the package.
    assert {p.name for p in ROOT.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py", "option.py"}


def test_versions_agree() -> None:
    import mlb

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == mlb.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip builds it, from a copy, so that no build folder is left in the checkout."""
    source, out = tmp_path_factory.mktemp("source") / "any-name", tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True)
    return next(out.glob("mlb-*.whl"))


@pytest.mark.system
def test_the_wheel_holds_mlb_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"mlb", f"mlb-{wheel.name.split('-')[1]}.dist-info"}
    for path in [*ROOT.glob("*/*.py"), *ROOT.glob("*.py")]:
        room = path.relative_to(ROOT).parts[0]
        if room not in ("tests", "benchmarks", "scripts"):
            assert f"mlb/{path.relative_to(ROOT)}" in names, path
    assert "mlb/py.typed" in names


@pytest.mark.system
def test_it_runs_from_a_folder_with_rooms_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Installed into an environment of its own; the user's own `models/` must not be taken for ours."""
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=True)
    site = next((home / "lib").glob("python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    assert {p.name for p in site.iterdir()} - {"bin"} == {"mlb", f"mlb-{wheel.name.split('-')[1]}.dist-info"}
    # Its dependencies come from this environment; torch is large.
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    work = tmp_path / "work"
    for room in ("models", "cli", "results"):
        (work / room).mkdir(parents=True)
        (work / room / "__init__.py").write_text("raise SystemExit('the wrong package')")
    run = subprocess.run(
        [str(home / "bin" / "python"), "-m", "mlb", "bench", "list", "--json"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLB_HOME": str(tmp_path / "home")},
    )
    assert run.returncode == 0, run.stderr
    assert '"task3a"' in run.stdout
