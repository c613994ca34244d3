"""The text of a program that is sent to a node: some files of this package as one namespace."""

from __future__ import annotations

import ast
import functools
import inspect
from types import ModuleType

from ..results import process
from . import on_node

# Read from standard input, so that a process list shows no listing and nothing has to be put on the node's disk.
LOADER = "import sys;n=int(sys.argv[1]);exec(compile(sys.stdin.buffer.read(n),'mlb','exec'));main(sys.argv[2])"


@functools.cache
def program(*more: ModuleType) -> bytes:
    """The verbs of `on_node`, and those that the files `more` add to its VERBS."""
    parts = [_bare(inspect.getsource(module)) for module in (process, on_node, *more)]
    return "\n".join(["from __future__ import annotations", *parts]).encode()


def _bare(source: str) -> str:
    """A file without its docstring, its relative imports and `from __future__`."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        dropped = isinstance(node, ast.ImportFrom) and (node.level or node.module == "__future__")
        if dropped or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (1 + (node.end_lineno or node.lineno) - node.lineno)
    return "\n".join(lines)
