"""Devices that networks run on: which there are, how a CPU and a GPU are kept busy, and in which precision.

On a CPU each thread computes one orientation of a batch alone: the network's layers are too small to be shared well.
A GPU takes the orientations of a batch at once, its gates in half precision where that is enough, and is handed the
next batch before it is done with the last.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radio_ag.errors import DeviceError
from radio_ag.network.model import INPUT_SIZE, AttentionGate, Network, NetworkT
from radio_ag.network.orbit import Seen, Task, to_arrays

MAX_HALF_ERROR = 1e-3
"""Half precision is used where no probability of the probes moves by more than half of this."""

_PROBES = 16
_CPU_BATCH = 16  # larger batches leave the cache and are slower
_GPU_BYTES = 60e6  # memory an image takes on a GPU, all gates at once


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Parameters
    ----------
    name : str
        ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    DeviceError
        It is not there; the message says which are.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present = [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), *present]
    elif torch.backends.mps.is_available():
        present = ["mps", *present]
    if name == "auto":
        return torch.device(present[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in present:
        raise DeviceError(f"device {name!r} is not there; accepted here: auto, {', '.join(present)}")
    return torch.device(wanted)


def choose_batch(device: torch.device) -> int:
    """Return how many images networks take at once, from a GPU's free memory.

    Parameters
    ----------
    device : torch.device
    """
    if device.type != "cuda":
        return _CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    return int(np.clip(2 ** np.floor(np.log2(0.5 * free / _GPU_BYTES)), 1, 1024))


def layout_on(device: torch.device) -> torch.memory_format:
    """Return the order of a tensor's values in memory that convolutions are fastest with.

    Parameters
    ----------
    device : torch.device
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def in_layout(network: NetworkT, layout: torch.memory_format) -> NetworkT:
    """Put a network's parameters, in place, into an order in memory.

    Parameters
    ----------
    network : Network
    layout : torch.memory_format
    """
    anything: Any = network  # the stubs of Module.to do not know of it
    return anything.to(memory_format=layout)


class _Precision:
    """Float32 with its 24 bits while anyone needs them: the settings are the process's own, the last one restores them.

    By default a GPU's convolutions keep the 11 bits of TF32, with which probabilities move by more than
    `MAX_HALF_ERROR`; a user may have asked for less in matrix products and on a CPU as well.
    """

    def __init__(self) -> None:
        backends: Any = torch.backends  # whose stubs lack the operators' own settings
        self._settings = (
            *(backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul),
            *(backends.mkldnn.conv, backends.mkldnn.rnn, backends.mkldnn.matmul),
        )
        self._lock, self._users, self._before = threading.Lock(), 0, [""] * len(self._settings)

    @contextmanager
    def kept(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._before = [setting.fp32_precision for setting in self._settings]
                self._set(["ieee"] * len(self._settings))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._set(self._before)

    def _set(self, values: list[str]) -> None:
        for setting, value in zip(self._settings, values, strict=True):
            setting.fp32_precision = value


_PRECISION = _Precision()


@contextmanager
def inference() -> Iterator[None]:
    """Run networks without gradients and in full float32, whatever precision the process allows elsewhere."""
    with torch.inference_mode(), _PRECISION.kept():
        yield


def side_by_side(work: Callable[[Task], Seen], tasks: Sequence[Task], threads: int) -> Iterator[Seen]:
    """Yield the results of tasks on a CPU, in order: a task a thread, unless there are fewer tasks than threads.

    Parameters
    ----------
    work : callable
        Runs a task.
    tasks : sequence of Task
    threads : int
    """
    if threads == 1 or len(tasks) < threads:
        yield from map(work, tasks)
        return

    def work_alone(task: Task) -> Seen:
        if torch.get_num_threads() != 1:  # a thread's own setting, and that of threads that begin later
            torch.set_num_threads(1)
        return work(task)

    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="radio-ag-network") as pool:
            yield from pool.map(work_alone, tasks)
    finally:
        torch.set_num_threads(threads)


def ahead(launch: Callable[[Task, Tensor], Seen], tasks: Sequence[Task], device: torch.device) -> Iterator[Seen]:
    """Yield the results of tasks on a GPU, in order: one is computed, the next goes there and the last comes back.

    Parameters
    ----------
    launch : callable
        Runs a task whose images are on the device.
    tasks : sequence of Task
    device : torch.device
    """
    upwards, downwards = torch.cuda.Stream(device), torch.cuda.Stream(device)
    compute = torch.cuda.current_stream(device)

    def start(task: Task) -> tuple[Seen, torch.cuda.Event]:
        with torch.cuda.stream(upwards):
            images = torch.from_numpy(task.images).pin_memory().to(device, non_blocking=True)
        compute.wait_stream(upwards)
        images.record_stream(compute)
        seen = launch(task, images)
        downwards.wait_stream(compute)
        with torch.cuda.stream(downwards):
            for tensor in filter(torch.is_tensor, seen):
                tensor.record_stream(downwards)
            here = (None if tensor is None else tensor.to("cpu", non_blocking=True) for tensor in seen)
            return Seen(*here), downwards.record_event()

    waiting = None
    for task in tasks:
        started = start(task)
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = started
    if waiting is not None:
        yield _arrived(*waiting)


def _arrived(seen: Seen, event: torch.cuda.Event) -> Seen:
    event.synchronize()
    return to_arrays(seen)


def with_half_gates(network: Network) -> Network:
    """Return a copy whose gates compute in float16, in which their 64 channels a pixel are half as much to carry.

    All else stays as it is: the convolutions before them need float32 for probabilities to stay within 1e-3, and
    float16 can neither hold nor add up the sums over 22,500 pixels that follow.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    """
    half = copy.deepcopy(network)
    gates: Any = half.gates
    for gate in gates:
        gate.half().__class__ = _HalfGate
    return half


class _HalfGate(AttentionGate):
    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        return self.normalise(self.score(x.half(), g.half()).float())


def half_suffices(network: Network, half: Network, temperature: float, device: torch.device) -> bool:
    """Return whether a copy in half precision gives the same probabilities for some simulated images.

    Parameters
    ----------
    network, half : Network
        As it is, and as `with_half_gates` makes it.
    temperature : float
        Of the softmax.
    device : torch.device
    """
    x = _probes().to(device)
    with inference():
        exact, near = ((each(x).logits / temperature).softmax(1) for each in (network, half))
    return bool((near - exact).abs().max() <= MAX_HALF_ERROR / 2)  # false where it is not a number


def _probes() -> Tensor:
    """Return images (n, 1, 150, 150) as clipped ones are: one to three blobs of several sizes among noise peaks."""
    generator = torch.Generator().manual_seed(0)
    pixel = torch.arange(INPUT_SIZE, dtype=torch.float32) - (INPUT_SIZE - 1) / 2
    images = 0.03 * torch.rand(_PROBES, 1, INPUT_SIZE, INPUT_SIZE, generator=generator)
    images *= torch.rand(images.shape, generator=generator) > 0.995
    for blob in range(3):
        y, x = 25 * torch.randn(2, _PROBES, 1, generator=generator)
        width = 1.5 + 6 * torch.rand(_PROBES, 1, generator=generator)
        brightness = torch.rand(_PROBES, 1, 1, generator=generator) if blob else 1.0
        profiles = (torch.exp(-(((pixel - centre) / width) ** 2) / 2) for centre in (y, x))
        down, across = profiles  # (n, 150) each
        images[:, 0] += brightness * down[:, :, None] * across[:, None, :]
    images *= images > 0.01
    return images / images.amax((2, 3), keepdim=True)
