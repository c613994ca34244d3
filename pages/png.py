"""Charts as PNG files: the same SVG, drawn by resvg, with the light style and every variable filled in."""

from __future__ import annotations

import re
from typing import Final

from ..errors import PreflightError

ZOOM: Final = 2
"""Pixels for each unit of a chart: 1520 across a page."""
_MEDIA: Final = re.compile(r"@media[^{]*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}")
_VARIABLE: Final = re.compile(r"--([\w-]+):\s*([^;}]+)")
_USED: Final = re.compile(r"var\(--([\w-]+)(?:,\s*([^)]+))?\)")


def png_of(svg: str) -> bytes:
    """The picture of a standalone SVG of `page.picture`.

    Raises:
        PreflightError: resvg is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise PreflightError(
            "PNG pictures need resvg, which is not installed.",
            why=str(error),
            fix="pip install 'mlb[png]', or take the SVG files: mlb report --svg FOLDER",
        ) from error
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=ZOOM, background="white", font_family="DejaVu Sans"))


def plain_style(css: str) -> str:
    """A style sheet for programs that know no variables and no media: its light colours, written out."""
    light = _MEDIA.sub("", css)
    values = dict(_VARIABLE.findall(light))
    return _USED.sub(lambda found: (values.get(found[1]) or found[2] or "inherit").strip(), _VARIABLE.sub("", light))
