"""Run every benchmark, print a table, write build/bench.json: python -m bench [NAME ...]"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import dispatch, edge, fold, listings, memory, noop, report, slowdisk, submit

GOALS = {
    "submit_1m_node_ms": "< 20",
    "submit_1m_wall_s": "< 0.6",
    "submit_mb_per_dataset": "< 1",
    "submit_record_kb": "< 10",
    "status_ms": "< 50",
    "noop_vs_xargs": ">= 0.7",
    "node_cpu_us_per_unit": "< 90",
    "second_100k_vs_first": ">= 1",
    "chain_vs_flat": ">= 0.9",
    "fold_results_per_s": ">= 100,000",
    "rebuild_results_per_s": ">= 100,000",
    "fold_under_load_per_s": ">= 50,000",
    "api_requests_per_s": ">= 2,000",
    "tls_10k_per_min_core_share": "< 0.3",
    "node_rss_mb": "< 100",
    "slow_disk_vs_fast": ">= 0.8",
    "dispatch_us_per_unit": "< 30",
    "dispatch_mb_100_datasets": "< 20",
    **{f"listing_10k_{name}_s": "< 1" for name in listings.LISTINGS},
}
SUITES: report.Suites = {
    "submit": submit.submit,
    "noop": noop.noop,
    "chain": noop.chain,
    "second": noop.second_100k,
    "api": edge.api,
    "tls": edge.tls,
    "memory": memory.memory,
    "fold": fold.fold,
    "slowdisk": slowdisk.slow_disk,
    "dispatch": dispatch.dispatch,
    "listings": listings.listings,
}


if __name__ == "__main__":
    report.run(SUITES, sys.argv[1:], GOALS, Path("build/bench.json"))
