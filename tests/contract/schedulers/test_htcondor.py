"""HTCondor under the contract."""

from __future__ import annotations

from tests.clusters.condor.rig import CondorRig
from tests.contract.schedulers.contract import Contract


class TestHTCondor(Contract):
    make = staticmethod(CondorRig)
