"""A report as plain data, and its two plain forms: text for a terminal, Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Words in the first column, to the left; numbers in the others, to the right."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sums_up: bool = False
    """Whether the last row is the sum of those above, to be set apart."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What is to be shown, in this order; every string is safe to print."""

    title: tuple[str, ...]
    """Which run; how it stands (`smoke: not comparable`); its result."""
    failure: tuple[str, ...]
    """The cause of a failed run: a sentence, then the last lines of the rank's output."""
    rows: tuple[tuple[str, str], ...]
    """Facts: label and value. A label that begins with spaces belongs to the row above."""
    tables: tuple[Table, ...]
    warnings: tuple[str, ...]


def text_of(report: Report, width: int) -> str:
    """The report in lines of at most `width` characters."""
    *title, result = report.title
    blocks: list[list[str]] = [[line for text in title for line in _wrapped(text, width)], _wrapped(result, width)]
    if report.failure:
        lines = [_clipped("  | " + line, width) for line in report.failure[1:]]
        blocks.append([*_wrapped(report.failure[0], width), *lines])
    if report.warnings:
        blocks.append([line for warning in report.warnings for line in _wrapped("! " + warning, width, "  ")])
    blocks.append(_text_facts(report.rows, width))
    blocks += [text_of_table(table, width) for table in report.tables]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def markdown_of(report: Report) -> str:
    """The report as GitHub's Markdown."""
    first, *more, result = report.title
    blocks = ["# " + _escaped(first), *(_escaped(line) for line in more), f"**{_escaped(result)}**"]
    if report.failure:
        blocks.append(_escaped(report.failure[0]))
        # Indented, not fenced: no line of the output can end the block.
        blocks.append("\n".join("    " + line for line in report.failure[1:]))
    blocks.append("\n".join("- **Note:** " + _escaped(warning) for warning in report.warnings))
    if report.rows:
        blocks.append("\n".join(_pipes(("", ""), report.rows, "---")))
    blocks += [block for table in report.tables for block in _markdown_table(table)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _text_facts(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    column = max((len(label) for label, _ in facts), default=0) + 2
    lines = []
    for label, value in facts:
        lines += _wrapped(label.ljust(column) + value, width, " " * column)
    return lines


def text_of_table(table: Table, width: int) -> list[str]:
    """The table's lines, of at most `width` characters."""
    rows = [table.headers, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.headers))]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    lines = [_text_row(row, widths) for row in rows]
    lines = [table.title, lines[0], rule, *lines[1:]]
    if table.sums_up:
        lines.insert(-1, rule)
    notes = [line for note in table.notes for line in _wrapped(note, width)]
    return [*(_clipped(line, width) for line in lines), *notes]


def _text_row(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(column) for cell, column in zip(row[1:], widths[1:], strict=True)]
    return "  ".join(cells).rstrip()


def _markdown_table(table: Table) -> Iterator[str]:
    yield "## " + _escaped(table.title)
    yield "\n".join(_pipes(table.headers, table.rows, "--:"))
    if table.notes:
        yield "\n".join("- " + _escaped(note) for note in table.notes)


def _pipes(headers: Sequence[str], rows: Sequence[Sequence[str]], rule: str) -> Iterator[str]:
    yield _pipe_row(headers)
    yield "| " + " | ".join(["---", *[rule] * (len(headers) - 1)]) + " |"
    yield from (_pipe_row(row) for row in rows)


def _pipe_row(row: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell.strip()) for cell in row) + " |"


def _escaped(text: str) -> str:
    """`text` without meaning to Markdown or HTML."""
    return re.sub(r"([\\`*\[\]<>|&#~])", r"\\\1", text)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, max(width, len(indent) + 10), subsequent_indent=indent, break_on_hyphens=False) or [""]


def _clipped(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
