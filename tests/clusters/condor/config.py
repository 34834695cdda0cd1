"""The configuration file of a private HTCondor pool on one host. HTCondor 23."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Shape:
    """What a pool is to be like. CPUs, memory and GPUs need not exist.

    workers: startds, each with all of these and, but for the first one, a machine's name of its
    own: startd2.NAME.test and so on. more: further lines of the file.
    """

    workers: int = 1
    cpus: int = 4
    memory_mb: int = 4000
    gpus: int = 2
    more: str = ""


def condor_config(
    name: str, folder: Path, release: Path, port: int, user: str, shape: Shape
) -> str:
    """HTCondor manual, "Configuration Macros". Everything listens on one port of loopback.

    user: who runs the daemons, submits and is the administrator, all in one.
    """
    gpus = " ".join(f"GPU-fake{number}" for number in range(shape.gpus))
    return f"""\
RELEASE_DIR = {release}/usr
BIN = $(RELEASE_DIR)/bin
SBIN = $(RELEASE_DIR)/sbin
LIB = $(RELEASE_DIR)/lib/condor
LIBEXEC = $(RELEASE_DIR)/libexec/condor
LOCAL_DIR = {folder}
ETC = $(LOCAL_DIR)
LOG = $(LOCAL_DIR)/log
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
LOCK = $(LOCAL_DIR)/lock
RUN = $(LOCAL_DIR)/run
LOCAL_CONFIG_FILE =
LOCAL_CONFIG_DIR =

DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD {" ".join(workers(shape))}
{_more_workers(name, shape)}
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
USE_SHARED_PORT = True
SHARED_PORT_PORT = {port}
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
NO_DNS = True
DEFAULT_DOMAIN_NAME = {name}.test
UID_DOMAIN = {name}.test
FILESYSTEM_DOMAIN = {name}.test
SCHEDD_NAME = {name}@

# Who somebody is, tells a file that he makes.
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
SEC_PASSWORD_DIRECTORY = $(LOCAL_DIR)/tokens
SEC_TOKEN_SYSTEM_DIRECTORY = $(LOCAL_DIR)/tokens
SEC_CREDENTIAL_DIRECTORY = $(LOCAL_DIR)/tokens
ALLOW_READ = *@$(UID_DOMAIN)
ALLOW_WRITE = *@$(UID_DOMAIN)
ALLOW_DAEMON = condor@$(UID_DOMAIN), {user}@$(UID_DOMAIN)
ALLOW_NEGOTIATOR = $(ALLOW_DAEMON)
ALLOW_ADMINISTRATOR = $(ALLOW_DAEMON)
ALLOW_CLIENT = *

# One slot, from which smaller ones are cut.
NUM_CPUS = {shape.cpus}
MEMORY = {shape.memory_mb}
DISK = 10000000
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
{f"MACHINE_RESOURCE_GPUs = {gpus}" if gpus else ""}
START = True
SUSPEND = False
PREEMPT = False
KILL = False
BASE_CGROUP =
MOUNT_UNDER_SCRATCH =
DISCARD_SESSION_KEYRING_ON_STARTUP = False
USE_KEYRINGS = False
STARTD_CRON_JOBLIST =
BENCHMARKS_JOBLIST =
RunBenchmarks = False
DOCKER =
SINGULARITY =
MAIL = /bin/true
JOB_DEFAULT_REQUESTCPUS = 1
JOB_DEFAULT_REQUESTMEMORY = 100
JOB_DEFAULT_REQUESTDISK = 1000

# Everything within seconds.
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
PERIODIC_EXPR_INTERVAL = 2
UPDATE_INTERVAL = 5
COLLECTOR_UPDATE_INTERVAL = 10
STARTER_UPDATE_INTERVAL = 2
STARTER_INITIAL_UPDATE_INTERVAL = 1
SHADOW_QUEUE_UPDATE_INTERVAL = 1
JOB_START_DELAY = 0
MASTER_UPDATE_INTERVAL = 10
MASTER_BACKOFF_CONSTANT = 1
{shape.more}
"""


def workers(shape: Shape) -> list[str]:
    """The names of the startds, as the master knows them."""
    return ["STARTD", *(f"STARTD{number}" for number in range(2, shape.workers + 1))]


def _more_workers(pool: str, shape: Shape) -> str:
    """All but the first one: manual, "Running Multiple Instances of a Daemon"."""
    return "\n".join(
        f"{name} = $(STARTD)\n"
        f"{name}_ARGS = -f -local-name {name}\n"
        f"{name}_LOG = $(LOG)/{name}Log\n"
        f"{name}.NETWORK_HOSTNAME = {name.lower()}.{pool}.test\n"
        f"{name}.STARTD_LOG = $(LOG)/{name}Log\n"
        f"{name}.STARTD_ADDRESS_FILE = $(LOG)/.{name}-address\n"
        f"{name}.STARTER_LOG = $(LOG)/{name}-StarterLog\n"
        f"{name}.EXECUTE = $(LOCAL_DIR)/execute-{name}"
        for name in workers(shape)[1:]
    )
