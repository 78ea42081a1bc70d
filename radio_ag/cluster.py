"""Chunks as tasks on a Dask cluster; needs ``radio-ag[dask]``.

A worker gets the weights once, opens the images itself, and keeps both for all of its chunks. With two threads it
fetches one chunk while the network works on another. Where it sees the folder of parts, it writes there and sends back
a hash; elsewhere the part itself goes to the client. Chunks of a worker that dies go to others. The parts alone count:
what the cluster knows may be lost at any time.

`radio_ag.partitions` is for catalogues that are Dask's or LSDB's own, and stay there.
"""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from radio_ag.catalog_io.images.fields import ImageSource, check_service
from radio_ag.catalog_io.open_images import open_images
from radio_ag.catalog_io.product.headers import software_versions
from radio_ag.catalog_io.product.parts import Part, read_manifest, run_identifier, write_part_file
from radio_ag.chunks import Chunk, ClassifySettings, classify_measured, measure_chunk
from radio_ag.cpus import allowed_threads
from radio_ag.errors import InputError, ServiceError
from radio_ag.network.checkpoints import Weights
from radio_ag.network.classifier import Classifier

if TYPE_CHECKING:
    from distributed import Client, Future

    from radio_ag.run import Plan

__all__ = ["Answer", "classify_on", "open_client", "worker_resources"]

_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_SILENT = 2.0  # seconds that pass before a line says what is waited for
_log = logging.getLogger(__name__)
_AHEAD = 2  # chunks that wait at the cluster for each thread of it


@dataclass(frozen=True, eq=False)
class Task:
    """What of a plan goes to the workers, with what they have to be like.

    ``run`` and ``folder`` are the run's identifier and its folder of parts as the client sees it (None: parts are to be
    carried back), ``versions`` and ``image_names`` the client's software and images; ``token`` tells this task from all
    others, of the same run too.
    """

    run: str
    folder: Path | None
    weights: Weights
    images: Any
    image_options: Mapping[str, Any]
    settings: ClassifySettings
    image_names: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=lambda: software_versions())  # as they are by then
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, plan: Plan, folder: Path | None) -> Task:
        """Make the task of a run for its workers.

        Parameters
        ----------
        plan : Plan
            Of the run.
        folder : Path or None
            Where workers that see it write the parts.

        Returns
        -------
        Task
            Small enough to be sent with each chunk.
        """
        if plan.weights is None:
            raise ValueError("a plan for a cluster has weights")
        names = tuple(getattr(plan.source, "names", ()))
        identifier = run_identifier(plan.identity())
        return cls(identifier, folder, plan.weights, plan.images, plan.image_options or {}, plan.settings, names)


class Answer(NamedTuple):
    """A part as it comes back: its hash if the worker has written it, and without its stacks then."""

    part: Part
    written: str | None


class Resources(NamedTuple):
    """What a worker has."""

    device: str
    batch: int
    threads: int


@contextmanager
def open_client(
    scheduler: str | None = None, workers: int | None = None, *, threads: int = 2, timeout: float = 30.0
) -> Iterator[Client]:
    """Yield a client of the cluster at an address, for whose answer it waits so long, or of one of this computer.

    Parameters
    ----------
    scheduler : str, optional
        Address of a scheduler, such as ``tcp://host:8786``.
    workers : int, optional
        Processes of a cluster on this computer, which ends with the context.
    threads : int
        Threads of each of these processes: with two, one fetches and measures while the network works in the other.
    timeout : float
        Seconds to wait for the scheduler.

    Raises
    ------
    InputError
        If Dask is not installed.
    ServiceError
        If no scheduler answers.
    """
    try:
        import dask.config
        from distributed import Client, LocalCluster
    except ImportError as exc:
        raise InputError(f"a cluster needs Dask: pip install 'radio-ag[dask]' ({exc})") from exc
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=timeout)
        except (OSError, ValueError) as exc:
            raise ServiceError(f"no Dask scheduler answers at {scheduler}: {exc}") from exc
        with client:
            yield client
        return
    # Dask has the C library give memory back at once (MALLOC_TRIM_THRESHOLD_), which makes the network twice as slow.
    environment = {name: value for name, value in dask.config.get(_ENVIRONMENT).items() if "MALLOC" not in name}
    with dask.config.set({_ENVIRONMENT: environment}):
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=threads, dashboard_address="127.0.0.1:0", silence_logs="ERROR"
        )
    with cluster, Client(cluster) as client:
        yield client


def worker_resources(client: Client, weights: Weights, settings: ClassifySettings, wait: float = 60.0) -> Resources:
    """Return device, batch and threads of a worker, where ``settings`` leave them open (``auto``, 0).

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    weights : Weights
        That the worker is to use.
    settings : ClassifySettings
        Of the run.
    wait : float
        Seconds to wait for a worker: those of a batch system are queued first. A line says that it waits.

    Returns
    -------
    Resources
        Of the first worker that answers.

    Raises
    ------
    ServiceError
        If the cluster has no worker.
    """
    address = getattr(client.scheduler, "address", "an unknown address")
    try:
        client.wait_for_workers(1, timeout=min(wait, _SILENT))
    except TimeoutError:
        _log.info("the Dask cluster at %s has no worker yet: waiting for one, up to %g s (--wait)", address, wait)
        try:
            client.wait_for_workers(1, timeout=wait)
        except TimeoutError as exc:
            message = f"the Dask cluster at {address} has no worker after {wait:g} s; wait= (--wait) waits longer"
            raise ServiceError(message) from exc
    return client.submit(_resources, weights, settings, pure=False).result()


def classify_on(
    client: Client, plan: Plan, chunks: Iterable[Chunk], folder: Path | None, *, check: bool = True
) -> Iterator[tuple[int, Answer]]:
    """Yield the parts of some chunks, as they are done, with their numbers.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    plan : Plan
        With what the workers need.
    chunks : iterable of Chunk
        In the order in which they are sent.
    folder : path, optional
        Where workers that see it write the parts.
    check : bool
        Find out from the first chunk whether the images come at all.

    Raises
    ------
    ServiceError
        The image service did not answer for a single source of the first chunk, or the scheduler is lost.
    """
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm.core import CommClosedError

    task = Task.of(plan, folder)
    # A task, not scattered data: if the only worker that has it dies, the scheduler makes it again.
    shared = client.submit(_keep, task, key=f"radio-ag-{task.token}", pure=False)
    numbers: dict[Future, int] = {}
    done = as_completed()

    def submit(chunk: Chunk, first: bool) -> None:
        future = client.submit(_classify, shared, chunk, first, pure=False)
        numbers[future] = chunk.number
        done.add(future)

    try:
        chunks = iter(chunks)
        for chunk in itertools.islice(chunks, 1):  # alone: it tells whether the image service answers at all
            submit(chunk, check)
            future = next(done)
            yield numbers.pop(future), future.result()
        while True:
            most = (1 + _AHEAD) * max(sum(client.nthreads().values()), 1)
            for chunk in itertools.islice(chunks, max(most - len(numbers), 0)):
                submit(chunk, False)
            if not numbers:
                return
            future = next(done)
            yield numbers.pop(future), future.result()
    except (CancelledError, CommClosedError) as exc:
        raise ServiceError(f"the Dask scheduler is lost: {exc}") from exc
    except KilledWorker as exc:
        raise ServiceError(f"several workers died one after the other over the same chunk: {exc}") from exc
    finally:
        if client.status == "running":
            client.cancel([shared, *numbers], force=True)


def _keep(task: Task) -> Task:
    return task


def _resources(weights: Weights, settings: ClassifySettings) -> Resources:
    classifier = Classifier(
        weights,
        device=own_device(settings.device),
        orbit=settings.orbit,
        batch=settings.batch or None,
        prior=settings.prior,
    )
    return Resources(
        str(classifier.device), classifier.batch, settings.threads or allowed_threads(torch.get_num_threads())
    )


class Tools:
    """What a worker keeps from chunk to chunk.

    Parameters
    ----------
    task : Task
        Of the run that the worker works for.
    """

    def __init__(self, task: Task) -> None:
        here = software_versions()
        if here != task.versions:
            raise InputError(f"a worker has other software than the client: {here} instead of {dict(task.versions)}")
        self.token = task.token
        self.source = open_here(task)
        settings = task.settings
        torch.set_num_threads(settings.threads)
        self.classifier = Classifier(
            task.weights,
            device=own_device(settings.device),
            orbit=settings.orbit,
            batch=settings.batch,
            prior=settings.prior,
        )
        self.fetching, self.computing = threading.Lock(), threading.Lock()
        self.folder = task.folder if task.folder is not None and _sees(task.folder, task.run) else None


def open_here(task: Task) -> ImageSource:
    """Open the images of a task as this worker sees them; fewer of them would mean rows without coverage, in silence.

    Parameters
    ----------
    task : Task
        Of the run.

    Returns
    -------
    ImageSource
        It is kept for as long as the worker has the task.
    """
    from distributed import get_worker

    here = f"worker {get_worker().name} ({get_worker().address})"
    try:
        source = open_images(task.images, **task.image_options)
    except InputError as exc:
        raise InputError(f"{here} cannot open the images that the client has: {exc}") from exc
    lacking = sorted(set(task.image_names) - set(getattr(source, "names", task.image_names)))
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise InputError(f"{here} lacks the image {lacking[0]}{more} of {task.images}, which the client has")
    return source


_tools: Tools | None = None
_opening = threading.Lock()


def _tools_of(task: Task) -> Tools:
    """The tools for a task; those for the last one go."""
    global _tools
    with _opening:
        if _tools is None or _tools.token != task.token:
            _tools = Tools(task)
        return _tools


def _classify(task: Task, chunk: Chunk, first: bool) -> Answer:
    """The part of one chunk, on a worker."""
    tools = _tools_of(task)
    with tools.fetching:
        measured = measure_chunk(chunk, tools.source, tools.classifier)
    if first:
        check_service(measured.fields, tools.source)
    with tools.computing:
        part = classify_measured(measured, tools.classifier, task.settings)
    if tools.folder is None:
        return Answer(part, None)
    return Answer(replace(part, stacks={}), write_part_file(tools.folder, chunk.number, part))


def _sees(folder: Path, run: str) -> bool:
    """Whether a folder here is the client's."""
    try:
        recorded = read_manifest(folder)
    except InputError:
        return False
    return recorded is not None and run_identifier(recorded) == run


def own_device(name: str) -> str:
    """Return the device of this worker: of several GPUs that it sees, the one that its number falls to.

    Parameters
    ----------
    name : str
        "auto", "cpu", "cuda" or "cuda:0" and so on, as the user asks for it.

    Returns
    -------
    str
        What `torch.device` takes, or "auto".
    """
    from distributed import get_worker

    if not name.startswith(("auto", "cuda")) or not torch.cuda.is_available():
        return name
    number = get_worker().name
    return f"cuda:{number % torch.cuda.device_count() if isinstance(number, int) else 0}"
