"""Slurm without accounting under the contract."""

from __future__ import annotations

from tests.clusters.slurm import rig as slurm
from tests.contract.schedulers.contract import Contract


class TestSlurm(Contract):
    make = staticmethod(slurm.plain)
