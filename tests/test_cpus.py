"""Threads by what a batch system and control groups allow, on file systems that the tests make."""

import pytest

from radio_ag.cpus import allowed_threads


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 16),
        ({"SLURM_CPUS_PER_TASK": "4"}, 4),
        ({"SLURM_CPUS_PER_TASK": "64"}, 16),
        ({"SLURM_CPUS_PER_TASK": ""}, 16),
        ({"SLURM_CPUS_PER_TASK": "4", "OMP_NUM_THREADS": "16"}, 16),
    ],
)
def test_the_environment(environment, expected, tmp_path):
    assert allowed_threads(16, environment, tmp_path) == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 16), ("250000 100000", 3), ("50000 100000", 1), ("", 16)]
)
def test_control_groups_of_version_2(quota, expected, tmp_path):
    write(tmp_path / "proc/self/cgroup", "0::/slice/job\n")
    write(tmp_path / "sys/fs/cgroup/slice/job/cpu.max", quota)
    assert allowed_threads(16, {}, tmp_path) == expected


def test_the_limit_of_a_group_above_counts(tmp_path):
    write(tmp_path / "proc/self/cgroup", "0::/slice/job\n")
    write(tmp_path / "sys/fs/cgroup/slice/job/cpu.max", "800000 100000")
    write(tmp_path / "sys/fs/cgroup/slice/cpu.max", "200000 100000")
    assert allowed_threads(16, {}, tmp_path) == 2


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("400000", 4)])
def test_control_groups_of_version_1(quota, expected, tmp_path):
    write(tmp_path / "proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n")
    write(tmp_path / "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", quota + "\n")
    write(tmp_path / "sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    assert allowed_threads(16, {}, tmp_path) == expected
