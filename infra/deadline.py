"""The timer that ends a node: whether it is armed, and when it fires, as the node itself shows it."""

from __future__ import annotations

import re

SLACK_S = 120
"""A node's timer may fire that much after the fleet's deadline: it counts from the boot, in the node's own clock."""
MIN_LEFT_S = 300
"""A fleet that ends sooner gets no new nodes: they have its deadline, and would end as they begin."""

# In `sh`, for the probe of readiness.py: sets `timer`. Either the systemd timer of the first boot stage, or the
# process that does its work where there is no systemd; its last argument is its duration.
PROBE = r"""
timer=
if shown=$(systemctl show mlb-deadline.timer --property=ActiveState,NextElapseUSecMonotonic 2>/dev/null); then
  timer=$(printf '%s' "$shown" | tr '\n' ';')
fi
case $timer in *ActiveState=active*) ;; *)
  timer=$(ps -eo etimes=,args= 2>/dev/null |
    sed -n 's/^ *\([0-9]*\) .* mlb-deadline \([0-9]*\)$/slept \1 of \2/p' | head -n 1)
esac
"""

_UNITS_S = {
    "y": 365.25 * 86400,
    "month": 30.4375 * 86400,
    "w": 7 * 86400,
    "d": 86400,
    "h": 3600,
    "min": 60,
    "s": 1,
    "ms": 1e-3,
    "us": 1e-6,
}


def left_s(timer: str, uptime_s: float) -> float | None:
    """Seconds until the node ends itself, from what the probe saw; None if nothing is armed.

    Args:
        timer: `ActiveState=active;NextElapseUSecMonotonic=4h 2min 1.5s`, or `slept 12 of 14400`.
        uptime_s: seconds since the node's boot, which is what systemd's times count from.
    """
    slept = re.fullmatch(r"slept (\d+) of (\d+)", timer.strip())
    if slept:
        return float(int(slept[2]) - int(slept[1]))
    fields = dict(part.partition("=")[::2] for part in timer.split(";"))
    fires = span_s(fields.get("NextElapseUSecMonotonic", ""))
    return None if fields.get("ActiveState") != "active" or fires is None else fires - uptime_s


def span_s(text: str) -> float | None:
    """Seconds in a time span as systemd writes it (`1d 2h 3min 4.5s`); None for `infinity` and all else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]+)", text)
    if not parts or " ".join(number + unit for number, unit in parts) != text.strip():
        return None
    if any(unit not in _UNITS_S for _, unit in parts):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
