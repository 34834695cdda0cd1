"""Programs that imitate OpenPBS under the contract."""

from __future__ import annotations

from tests.contract.schedulers.contract import Contract
from tests.fakes import openpbs_rig as openpbs


class TestRelease(Contract):
    make = staticmethod(openpbs.release)


class TestForgetful(Contract):
    make = staticmethod(openpbs.forgetful)
