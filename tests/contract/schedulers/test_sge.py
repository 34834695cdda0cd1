"""Grid Engine under the contract."""

from __future__ import annotations

from tests.clusters.sge import rig as sge
from tests.contract.schedulers.contract import Contract


class TestGridEngine(Contract):
    make = staticmethod(sge.plain)
