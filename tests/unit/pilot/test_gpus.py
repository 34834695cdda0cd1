"""GPUs: which ones a batch system granted, and which ones a unit sees."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pilot import gpus
from tests.unit.pilot import batchjobs


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, None),
        (batchjobs.SLURM_ARRAY, None),
        (batchjobs.SLURM_GPU, ["0"]),
        (batchjobs.CONDOR_GPU, ["GPU-fake0"]),
        (batchjobs.CONDOR_NO_GPU, []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "0, 2,-1,3"}, ["0", "2"]),  # the first bad one ends the list
        ({"CUDA_VISIBLE_DEVICES": "1,1,0"}, ["1", "0"]),
        (
            {"CUDA_VISIBLE_DEVICES": "MIG-GPU-8932f937-d72c/7/0,MIG-2b0c"},
            ["MIG-GPU-8932f937-d72c/7/0", "MIG-2b0c"],
        ),
        ({"ROCR_VISIBLE_DEVICES": "GPU-4b2c1a9f,1"}, ["GPU-4b2c1a9f", "1"]),
        ({"ZE_AFFINITY_MASK": "0.1,1"}, ["0.1", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "3"}, ["3"]),
        ({"CUDA_VISIBLE_DEVICES": "$(reboot)"}, []),
        ({"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(200)))}, [str(n) for n in range(64)]),
    ],
)
def test_what_was_granted(environ: Mapping[str, str], names: list[str] | None) -> None:
    assert gpus.granted(environ) == names


SEVERAL = {
    "CUDA_VISIBLE_DEVICES": "2,5",
    "ROCR_VISIBLE_DEVICES": "GPU-a,GPU-b",
    "ZE_AFFINITY_MASK": "0,1",
    "GPU_DEVICE_ORDINAL": "0",
}


def test_a_unit_sees_its_own_gpus_by_every_variable_that_was_set() -> None:
    assert gpus.of_unit(["5"], SEVERAL) == {
        "CUDA_VISIBLE_DEVICES": "5",
        "ROCR_VISIBLE_DEVICES": "GPU-b",
        "ZE_AFFINITY_MASK": "1",
        "GPU_DEVICE_ORDINAL": "",  # it names others than the rest do
    }


def test_a_unit_that_asked_for_none_sees_none_of_those_that_were_granted() -> None:
    assert gpus.of_unit(None, SEVERAL) == {
        "CUDA_VISIBLE_DEVICES": "",
        "ROCR_VISIBLE_DEVICES": "",
        "ZE_AFFINITY_MASK": "10000",
        "GPU_DEVICE_ORDINAL": "",
    }
    assert gpus.of_unit(None, {}) == {}


def test_gpus_of_the_settings_are_named_as_they_are() -> None:
    assert gpus.of_unit(["7"], {}) == {"CUDA_VISIBLE_DEVICES": "7"}
    assert gpus.of_unit(["7"], {"CUDA_VISIBLE_DEVICES": "0"}) == {"CUDA_VISIBLE_DEVICES": "7"}
