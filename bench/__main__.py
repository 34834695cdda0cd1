"""Run every benchmark, print a table, write build/bench.json: python -m bench [NAME ...]"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import dispatch, edge, fold, memory, noop, slowdisk, submit

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
}
SUITES: dict[str, Callable[[], dict[str, float]]] = {
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
}


def show(figures: dict[str, float]) -> None:
    table = Table("figure", "measured", "promised")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", GOALS.get(name))
    Console().print(table)


def main() -> None:
    path = Path("build/bench.json")
    path.parent.mkdir(exist_ok=True)
    figures = json.loads(path.read_text()) if path.exists() and sys.argv[1:] else {}
    for name in sys.argv[1:] or SUITES:
        began = time.monotonic()
        figures.update(SUITES[name]())
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        path.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    show(figures)


if __name__ == "__main__":
    main()
