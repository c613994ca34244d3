"""Documents that must agree with the code."""

import re
from collections.abc import Iterator
from pathlib import Path

from mlb import errors
from mlb.cli.config import SETTINGS
from mlb.infra.address import ASKED
from mlb.results import keys

ROOT = Path(__file__).resolve().parents[2]


def _tree(root: type[errors.MlbError]) -> Iterator[type[errors.MlbError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


def test_the_error_tree_is_drawn_as_it_is() -> None:
    for error in _tree(errors.MlbError):
        assert re.search(rf"\b{error.__name__}\b", errors.__doc__ or ""), error
        line = next(line for line in (errors.__doc__ or "").splitlines() if error.__name__ in line)
        if code := re.search(rf"{error.__name__}\s+(\d+)\s", line):
            assert int(code[1]) == error.exit_code


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs/exit-codes.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert {error.exit_code for error in _tree(errors.MlbError)} | {0, 130} <= documented


def test_every_word_of_the_event_log_is_documented() -> None:
    text = (ROOT / "docs/event-log.md").read_text()
    words = {v for k, v in vars(keys).items() if k.isupper() and isinstance(v, str)}
    assert not {word for word in words if f"`{word}`" not in text}
    assert not {phase for phase in keys.PHASES if f"`{phase}_ns`" not in text}


def test_every_decision_is_in_the_index_by_its_title() -> None:
    folder = ROOT / "docs/decisions"
    listed = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("- ")]
    expected = []
    for path in sorted(folder.glob("[0-9]*.md")):
        title = path.read_text().splitlines()[0].partition(". ")[2]
        expected.append(f"- [{path.name[:4]}]({path.name}): {title}")
    assert listed == expected, "docs/decisions/README.md: a line a decision, in order, with its title"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    for setting in SETTINGS.values():
        assert f"`{setting.name}`" in text
        assert f"`{setting.variable}`" in text


def test_files_stay_small() -> None:
    """House style: none over 300 lines without a reason in its docstring."""
    for path in ROOT.glob("*/*.py"):
        if path.parts[-2] not in ("tests", "benchmarks"):
            assert len(path.read_text().splitlines()) <= 300, path


def test_whoever_is_asked_for_this_machines_address_is_named() -> None:
    for page in ("security-model.md", "fleets.md"):
        assert ASKED in (ROOT / "docs" / page).read_text(), page
