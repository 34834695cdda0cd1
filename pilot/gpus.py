"""The GPUs that were granted, by the variables that programs obey, and those of one unit. Pure.

Sources: CUDA C Programming Guide, "CUDA Environment Variables" (numbers, GPU-UUID, MIG-UUID; the
first name that is not valid ends the list); ROCm documentation, "GPU isolation techniques"
(ROCR_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES, GPU_DEVICE_ORDINAL); Level Zero specification,
"Environment variables" (ZE_AFFINITY_MASK); gres.html of Slurm, which sets CUDA_VISIBLE_DEVICES,
ROCR_VISIBLE_DEVICES, ZE_AFFINITY_MASK and GPU_DEVICE_ORDINAL alike; HTCondor manual,
ENVIRONMENT_VALUE_FOR_UnAssigned<name>, which is 10000 by default.
"""

import re
from typing import Dict, List, Mapping, Optional, Sequence

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
    "GPU_DEVICE_ORDINAL",
)
# Without names these hide all GPUs. An empty ZE_AFFINITY_MASK would show all of them, so it names
# one that no host has; as HTCondor does everywhere.
_NONE = {"ZE_AFFINITY_MASK": "10000"}
_NO_DEVICE = ("-1", "10000", "NoDevFiles", "none", "void")
_NAME = re.compile(r"[A-Za-z0-9_./:-]{1,100}\Z")
NAMES_MAX = 64


def granted(environ: Mapping[str, str]) -> Optional[List[str]]:
    """Names of GPUs that the variables allow; None if no variable says anything."""
    told = [names_in(environ[name]) for name in VARIABLES if name in environ]
    if not told:
        return None
    return next((names for names in told if names), [])


def names_in(value: str) -> List[str]:
    """The names in such a variable, up to the first that is none, each once."""
    found: List[str] = []
    for name in value.split(","):
        name = name.strip()
        if name in _NO_DEVICE or not _NAME.match(name) or len(found) >= NAMES_MAX:
            break
        if name not in found:
            found.append(name)
    return found


def of_unit(names: Optional[Sequence[str]], environ: Mapping[str, str]) -> Dict[str, str]:
    """Variables with which a unit sees these GPUs and no others.

    names: None for a unit that asked for none. environ: the pilot's own: a variable that was set
    for it is set for its units too, and names the same devices in its own way.
    """
    lists = {name: names_in(environ[name]) for name in VARIABLES if name in environ}
    order = next((known for known in lists.values() if known), [])
    result = {} if names is None else {"CUDA_VISIBLE_DEVICES": ",".join(names)}
    for variable, known in lists.items():
        result[variable] = ",".join(_same_devices(names or (), order, known))
    for variable, hidden in _NONE.items():
        if variable in result and not result[variable]:
            result[variable] = hidden
    return result


def _same_devices(names: Sequence[str], order: List[str], known: List[str]) -> List[str]:
    """What a variable that lists `known` calls these of the devices in `order`."""
    if not all(name in order for name in names):
        return list(names)  # from the settings: they know better
    if len(known) != len(order):
        return []  # nobody can tell which ones these are
    return [known[order.index(name)] for name in names]
