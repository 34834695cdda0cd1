"""The listings that are measured are whole ones of so many pilots."""

from __future__ import annotations

import pytest

from bench import listings


@pytest.mark.parametrize("name", listings.LISTINGS)
def test_each_plugin_reads_all_pilots_of_the_listing_that_is_measured(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "PILOTS", 300)
    plugin, text = listings.LISTINGS[name]
    found = plugin.listed(listings.Completed(0, text().encode(), b""))
    assert len(found) == 300
    assert all(report.tag and not report.state.over for report in found.values())
