"""Engines that run the captures of a batch: the processes of `concurrent.futures`, and Ray. Neither is ours."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from ..scene.errors import BadInputError, FewviewError
from .capture_job import CaptureJob, Outcome, run_capture

ATTEMPTS = 2  # a capture whose process was ended from outside goes on once; twice is no accident
RAY_ADDRESS = "RAY_ADDRESS"  # the environment variable by which Ray finds a cluster

Engine = Callable[[Sequence[CaptureJob], int], Iterator[Outcome]]


def engine(name: str, workers: int | None) -> Engine:
    """The engine of a name. Raises BadInputError where there is none, or it is not installed or not asked rightly."""
    if name not in ENGINES:
        raise BadInputError(f"--engine {name} is unknown: {' or '.join(ENGINES)} is expected.")
    if name == "ray":
        if not ray_is_installed():
            raise BadInputError(
                "--engine ray needs Ray, which is not installed: type `python -m pip install 'fewview[batch]'`, or use "
                "--engine local."
            )
        if on_cluster() and workers is not None:
            raise BadInputError(
                f"--workers {workers} is for Ray on this computer, and {RAY_ADDRESS} names a cluster, which decides by "
                "itself: leave --workers out."
            )
    return ENGINES[name]


def ray_is_installed() -> bool:
    """True where Ray is there; a folder of that name in the working folder is none."""
    spec = importlib.util.find_spec("ray")
    return spec is not None and spec.origin is not None


def on_cluster() -> bool:
    """True where Ray is to use a cluster that runs already."""
    return bool(os.environ.get(RAY_ADDRESS))


def on_this_computer(jobs: Sequence[CaptureJob], workers: int) -> Iterator[Outcome]:
    """Outcomes as they come, `workers` captures at a time, each in a process of its own."""
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(_in_own_process, job) for job in jobs]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:  # Ctrl-C, or nobody wants the rest
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _in_own_process(job: CaptureJob) -> Outcome:
    """Whatever ends the process, the others go on; memory is given back."""
    for attempt in range(1, ATTEMPTS + 1):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            try:
                return replace(process.submit(run_capture, job).result(), attempts=attempt)
            except BrokenProcessPool:
                continue
    return _killed(job)


def on_ray(jobs: Sequence[CaptureJob], workers: int) -> Iterator[Outcome]:
    """Outcomes as they come, from Ray on this computer with `workers` captures at a time, or on RAY_ADDRESS's cluster.

    All computers of a cluster see the captures and the output under the same paths.
    """
    ray: Any = importlib.import_module("ray")
    threads, on_gpu = jobs[0].threads, jobs[0].config.device == "cuda"
    here = {} if on_cluster() else {"num_cpus": workers * threads, "include_dashboard": False}
    heard = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **here)
    except (
        Exception
    ) as error:  # Ray raises plain exceptions here, e.g. where a busy computer takes longer than it waits
        first = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
        raise FewviewError(f"Ray could not be started: {first}. Try again, or use --engine local.") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, heard)  # Ray puts its own there, which would leave without a word
    try:
        # Ray itself begins a task again whose worker died; the run goes on from its last checkpoint.
        run = ray.remote(num_cpus=threads, num_gpus=int(on_gpu), max_retries=ATTEMPTS - 1)(run_capture)
        waiting = {run.remote(job): job for job in jobs}
        try:
            while waiting:
                (ready, *_), _ = ray.wait(list(waiting))
                job = waiting.pop(ready)
                try:
                    yield ray.get(ready)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    yield _killed(job)
        except BaseException:
            for task in waiting:
                ray.cancel(task, force=False)  # Ctrl-C in its worker
            ray.wait(list(waiting), num_returns=max(len(waiting), 1), timeout=60) if waiting else None
            raise
    finally:
        ray.shutdown()


def _killed(job: CaptureJob) -> Outcome:
    error = (
        f"Its process was ended from outside, {ATTEMPTS} times, as systems do when memory runs out; lower --workers, "
        "--resolution or --max-gaussians."
    )
    return Outcome(job.name, "failed", error, attempts=ATTEMPTS)


ENGINES: dict[str, Engine] = {"local": on_this_computer, "ray": on_ray}
