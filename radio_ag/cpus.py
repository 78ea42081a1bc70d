"""How many CPUs this process may use: what a batch system or a container allows, not what the machine has."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def allowed_threads(most: int, environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many threads to use where the user does not say.

    Parameters
    ----------
    most : int
        What the library would take, which minds OMP_NUM_THREADS and the CPUs that the process is bound to.
    environment : mapping
        With OMP_NUM_THREADS, which counts alone, or SLURM_CPUS_PER_TASK.
    root : path
        Of the file system, for the limits of control groups.

    Returns
    -------
    int
        At least 1.
    """
    if environment.get("OMP_NUM_THREADS"):
        return most
    limits = [most, *_control_group_limits(root)]
    slurm = environment.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdecimal():
        limits.append(int(slurm))
    return max(1, min(limits))


def _control_group_limits(root: Path) -> Iterator[int]:
    """CPUs that the process's control groups allow, those above it among them; of version 2 and 1."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        folder = base / group.strip("/")
        for place in (folder, *folder.parents):
            if base in (place, *place.parents):
                quota = (
                    [_text(place / "cpu.cfs_quota_us"), _text(place / "cpu.cfs_period_us")]
                    if controllers
                    else _text(place / "cpu.max").split()
                )
                if len(quota) == 2 and all(part.strip().isdecimal() for part in quota) and int(quota[1]):
                    yield math.ceil(int(quota[0]) / int(quota[1]))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # another system, or a group that is not to be seen from here
        return ""
