"""Settings: where each may come from, who wins, and what a mistake says."""

from pathlib import Path

import pytest
from mlb.cli.config import resolve, value
from mlb.errors import UsageError


def test_each_place_overrules_the_ones_below(mlb_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (resolve("ranks").value, resolve("ranks").origin) == (None, "default")
    mlb_home.mkdir()
    (mlb_home / "config.toml").write_text("ranks = 3\n")
    assert (resolve("ranks").value, resolve("ranks").origin) == (3, str(mlb_home / "config.toml"))
    Path("mlb.toml").write_text('ranks = 4\ndata_dir = "~/data"\n')
    assert (resolve("ranks").value, resolve("ranks").origin) == (4, "mlb.toml")
    assert value("data_dir") == Path.home() / "data"
    monkeypatch.setenv("MLB_RANKS", "5")
    assert (resolve("ranks").value, resolve("ranks").origin) == (5, "MLB_RANKS")
    assert (resolve("ranks", 6).value, resolve("ranks", 6).origin) == (6, "command line")


def test_the_users_file_lies_in_the_xdg_folder(tmp_path: Path, mlb_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLB_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg" / "mlb").mkdir(parents=True)
    (tmp_path / "xdg" / "mlb" / "config.toml").write_text('goal = "smoke"\n')
    assert value("goal") == "smoke"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/is/ignored")
    assert value("goal") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('# a comment\n\nranks = "two"\n', ["mlb.toml, line 3", "ranks", "'two'", "a whole number from 1"]),
        ("ranks = 0\n", ["line 1", "a whole number from 1"]),
        ("ranks = true\n", ["line 1", "a whole number from 1"]),
        ("ranks = 2.0\n", ["line 1", "a whole number from 1"]),
        ('backend = "gluu"\n', ["line 1", "one of gloo, mpi, nccl, ucc"]),
        ("goal = 3\n", ["line 1", "a non-empty string"]),
        ("seed = 1\nrank = 2\n", ["mlb.toml, line 2", "no setting 'rank'", "Did you mean 'ranks'?", "data_dir"]),
        ("seed = 1\n[bench]\nranks = 2\n", ["mlb.toml, line 2", "no setting 'bench'"]),
        ("ranks = = 2\n", ["mlb.toml is not valid TOML", "line 1"]),
    ],
)
def test_a_mistake_in_a_file_is_named_by_file_and_line(mlb_home: Path, text: str, words: list[str]) -> None:
    Path("mlb.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        for name in ("ranks", "backend", "goal", "seed"):
            resolve(name)
    for word in words:
        assert word in str(caught.value)


def test_a_mistake_in_the_environment_is_named(mlb_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLB_RANKS", "-1")
    with pytest.raises(UsageError, match="MLB_RANKS: ranks cannot be '-1'"):
        value("ranks")
