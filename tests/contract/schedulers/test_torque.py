"""Torque's commands in front of Slurm under the contract."""

from __future__ import annotations

from tests.clusters.slurm_pbs import rig as slurm_pbs
from tests.contract.schedulers.contract import Contract


class TestTorqueCommands(Contract):
    make = staticmethod(slurm_pbs.plain)
