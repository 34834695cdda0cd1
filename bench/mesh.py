"""Figures of a mesh, with table and build/bench-mesh.json: python -m bench.mesh [NAME ...]"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import report, together

GOALS = {
    "converge_5_p50_ms": "< 50",
    "join_to_work_s": "< 10",
    "takeover_votes_s": "< 2 vote timeouts",
    "cpu_us_per_unit_all_nodes": "< 300",
    "idle_core_share": "< 0.01",
    "idle_bytes_per_s": "< 2,000",
}
SUITES: report.Suites = {
    "converge": together.converge,
    "join": together.join,
    "units": together.units,
    "takeover": together.takeover,
    "idle": together.idle,
}

if __name__ == "__main__":
    report.run(SUITES, sys.argv[1:], GOALS, Path("build/bench-mesh.json"))
