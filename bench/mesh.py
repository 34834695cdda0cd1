"""Figures of a mesh, with table and build/bench-mesh.json: python -m bench.mesh [NAME ...]"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import catchup, idle, report, scaling, shares, together, virtual
from tests.simulation.speed import site_days_per_minute

GOALS = {
    "converge_5_p50_ms": "< 50",
    "sim100_p99_s": "< 1.5",
    "redundancy": "< 1.5",
    "catchup_results_per_s": ">= 50,000",
    "catchup_vs_sqlite": ">= 0.3",
    "catchup_rss_mb": "< 300",
    "join_to_work_s": "< 10",
    "idle_core_share": "< 0.01",
    "idle_bytes_per_s": "< 2,000",
    "idle_control_entries": "< 1",
    "noop_2_sites_vs_sum": ">= 0.95",
    "noop_4_sites_vs_sum": ">= 0.95",
    "cpu_us_per_unit_all_nodes": "< 300",
    "share_out_vs_ideal": "< 1.05",
    "share_out_lost_site_vs_ideal": "< 1.10",
    "busy_without_leader_vs_vote": ">= 1",
    "takeover_votes_s": f"< {2 * together.VOTE_AFTER_S}",  # two vote timeouts
    "sim_site_days_per_minute": ">= 200",
}


def simulator() -> dict[str, float]:
    return {"sim_site_days_per_minute": site_days_per_minute()}


SUITES: report.Suites = {
    "converge": together.converge,
    "sim100": virtual.sim100,
    "catchup": catchup.catch_up,
    "join": together.join,
    "idle": idle.idle,
    "idle50": virtual.idle50,
    "scaling": scaling.scaling,
    "units": together.units,
    "shares": shares.share_out,
    "takeover": together.takeover,
    "simulator": simulator,
}

if __name__ == "__main__":
    report.run(SUITES, sys.argv[1:], GOALS, Path("build/bench-mesh.json"))
