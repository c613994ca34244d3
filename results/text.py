"""Text that is safe to show: words from logs are remote text, and remote text is hostile."""

from __future__ import annotations

import re
import signal
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

LIMIT_CHARACTERS = 300

# Terminal sequences go as a whole, so that no "[31m" is left: CSI, string commands (OSC, DCS, ...), the rest.
_SEQUENCES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\\\|\x9c)|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_SPACES = re.compile(r"\s+")
_MEASURED = re.compile(r"\d+\.\d+")


def sanitise(text: object, limit: int = LIMIT_CHARACTERS) -> str:
    """`text` as one line of at most `limit` characters that cannot steer a terminal.

    Control characters (C0, C1), escape sequences, invisible and direction-changing characters and lone
    surrogates are removed; runs of white space become one space; what is cut off shows as `…`.
    """
    # Cut first: the work below is then bounded whatever a log holds.
    whole = str(text)
    raw = whole[: 4 * limit + 256]
    plain = raw if raw.isascii() and raw.isprintable() else _without_controls(raw)
    plain = _SPACES.sub(" ", plain).strip() + "…" * (len(raw) < len(whole))
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def harmless(line: str, limit: int = 10_000) -> str:
    """A line as it is, indentation included, without what could steer a terminal; longer ones are cut."""
    raw = line.expandtabs()[:limit]
    return raw if raw.isprintable() and raw.isascii() else _without_controls(raw)


def sanitise_lines(lines: Iterable[object], last: int = 20, limit: int = LIMIT_CHARACTERS) -> tuple[str, ...]:
    """The `last` lines, each sanitised; empty ones are left out."""
    return tuple(line for line in (sanitise(raw, limit) for raw in lines) if line)[-last:]


def count(number: int, noun: str) -> str:
    """`1 step`, `2,000 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """A length of time for people; the seconds stay visible, as they are what is compared."""
    if seconds is None:
        return "-"
    if abs(seconds) < 600:
        return f"{seconds:.3f} s" if abs(seconds) < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    words = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
    return f"{seconds:,.1f} s ({'-' if seconds < 0 else ''}{words} {rest:02d} s)"


def ranges(numbers: Iterable[int]) -> str:
    """`0, 3-5` for 0, 3, 4, 5."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def said_by_runs(warnings: Sequence[Iterable[str]], most: int) -> list[str]:
    """The warnings of several runs, each once: what all of them say, and `3 runs of 15: …`, the most frequent first.

    Lines that differ in a measured number alone (`the load is 2.4`) are one; the highest is shown.
    """
    shown: dict[str, str] = {}
    said: Counter[str] = Counter()
    for lines in warnings:
        alike = {line: _MEASURED.sub("#", line) for line in lines}
        said.update(dict.fromkeys(alike.values()).keys())
        for line, key in alike.items():
            shown[key] = max(shown.get(key, line), line, key=_numbers)
    whole = len(warnings)
    return [
        shown[key] if runs == whole else f"{count(runs, 'run')} of {whole}: {shown[key]}"
        for key, runs in said.most_common(most)
    ]


def _numbers(line: str) -> list[float]:
    return [float(number) for number in _MEASURED.findall(line)]


def how_it_ended(exit_code: int) -> str:
    """`exit code 1`, or `killed by SIGKILL` for a negative code."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = ", which is also how the kernel ends a process when memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"


def _without_controls(text: str) -> str:
    return "".join(_plain(character) for character in _SEQUENCES.sub("", text))


def _plain(character: str) -> str:
    if character.isspace():
        return " "
    # Cc: controls. Cf: zero-width and direction-changing characters. Cs: lone surrogates: not UTF-8.
    return "" if unicodedata.category(character) in {"Cc", "Cf", "Cs"} else character
