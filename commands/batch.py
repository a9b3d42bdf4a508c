"""`fewview batch`: many captures to splats, with a table and a page of their reports at the end."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from ..recon.pipeline.reconstruct_config import ReconstructConfig
from ..scene.errors import BadInputError
from ..scene.files import read_json, write_json
from ..scene.progress import duration
from ..scene.run import Run
from ..viewer.report import BatchEntry, run_figures, write_batch_page
from .batch_engines import engine, on_cluster
from .capture_job import CaptureJob, Outcome, cpu_seconds, find_captures, run_name
from .device import prepare
from .options import Common
from .reconstruct import config_of, default_output
from .result import finish
from .terminal_progress import TerminalProgress

CLUSTER_THREADS = 4  # of a capture on a cluster, unless said: its computers may be of several kinds
RECORD = "batch.json"


@dataclass(frozen=True, kw_only=True)
class Options(Common, ReconstructConfig):
    """Many captures to splats, on this computer or on a cluster, with one page of reports.

    Each folder or video in the input folder becomes a run like those of `fewview reconstruct`. One that fails does not
    stop the others; with --resume the same command does what is left to do, and leaves alone what is done.
    """

    # Folder with a folder of photographs, or a video, for each capture.
    input: tyro.conf.Positional[Path]
    # Who runs the captures: local (processes of this computer) or ray (`pip install 'fewview[batch]'`; a cluster where
    # RAY_ADDRESS names one, which sees the captures and the output under the same paths).
    engine: str = "local"
    # Captures at a time; auto is one, and on a cluster as many as it has room for.
    workers: int | None = None
    # Go on with the batch in the output folder.
    resume: bool = False

    def __post_init__(self) -> None:
        Common.__post_init__(self)
        ReconstructConfig.__post_init__(self)
        if self.workers is not None and not 1 <= self.workers <= 256:
            raise BadInputError(f"--workers {self.workers} cannot be used: 1 to 256 are possible.")


def run(options: Options) -> int:
    run_jobs = engine(options.engine, options.workers)
    captures = find_captures(options.input)
    folder = options.output or default_output(options.input)
    earlier = _opened(folder, options)
    device = prepare(options)
    workers = options.workers or 1
    jobs = [
        CaptureJob(
            run_name(capture),
            capture.resolve(),
            (folder / run_name(capture)).resolve(),
            config_of(options, device=device.type),
            _threads(options, workers),
        )
        for capture in captures
    ]
    outcomes = {job.name: earlier[job.name] for job in jobs if job.is_done() and job.name in earlier}
    outcomes |= {job.name: Outcome(job.name, "done") for job in jobs if job.is_done() and job.name not in outcomes}
    waiting = [job for job in jobs if job.name not in outcomes]
    started, before = time.perf_counter(), cpu_seconds()
    try:
        with TerminalProgress(options.quiet) as progress:
            if outcomes:
                progress.say(f"{len(outcomes)} of {len(jobs)} captures are done already.")
            progress("captures", len(outcomes), len(jobs))
            for outcome in run_jobs(waiting, workers) if waiting else ():
                outcomes[outcome.name] = outcome
                if outcome.error:
                    progress.say(f"{outcome.name}: {outcome.error}")
                _keep(folder, jobs, outcomes, options)
                failed = sum(o.state != "done" for o in outcomes.values())
                progress("captures", len(outcomes), len(jobs), {"failed": failed} if failed else {})
    except KeyboardInterrupt:
        command = f"fewview batch {shlex.quote(str(options.input))} -o {shlex.quote(str(folder))} --resume"
        raise KeyboardInterrupt(f"Interrupted; what is finished is kept. Go on with `{command}`.") from None
    index = _keep(folder, jobs, outcomes, options)
    seconds = {"clock": time.perf_counter() - started, "processor": cpu_seconds() - before}
    result = {"batch": str(folder), "index": str(index), "seconds": seconds, **_summary(jobs, outcomes)}
    lines = [*_table(jobs, outcomes), "", f"Reports:      {index}"]
    unfinished = [job for job in jobs if outcomes[job.name].state != "done"]
    if unfinished:
        lines.append(f"Try again:    the same command with --resume does the {len(unfinished)} that failed")
    finish(options, result, lines)
    return 1 if unfinished else 0


def _threads(options: Options, workers: int) -> int:
    if options.threads is not None:
        return options.threads
    if options.engine == "ray" and on_cluster():
        return CLUSTER_THREADS
    return max(1, (os.cpu_count() or 1) // workers)


def _opened(folder: Path, options: Options) -> dict[str, Outcome]:
    """The outcomes of the batch that is continued. Raises BadInputError where the folder holds something else."""
    record = folder / RECORD
    if options.resume and record.is_file():
        known = read_json(record)
        captures = known.get("captures") if isinstance(known, dict) else None
        if not isinstance(captures, dict):
            raise BadInputError(f"{record} is damaged; choose another folder with -o.")
        return {name: _outcome(name, entry) for name, entry in captures.items() if isinstance(entry, dict)}
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder} is a file; name a folder for the batch with -o.")
    if folder.is_dir() and any(folder.iterdir()):
        what = "holds another batch" if record.is_file() else "is not empty"
        raise BadInputError(
            f"The output folder {folder} {what}; nothing was changed. Choose another with -o, or add --resume to "
            "continue that batch."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"The output folder {folder} cannot be made: {error.strerror}.") from error
    return {}


def _outcome(name: str, entry: Mapping[str, Any]) -> Outcome:
    """A capture that was done before, by the record."""
    seconds, cpu_seconds = (float(entry.get(k) or 0) for k in ("seconds", "cpu_seconds"))
    return Outcome(name, "done", "", seconds, cpu_seconds, int(entry.get("attempts") or 1))


def _keep(folder: Path, jobs: Sequence[CaptureJob], outcomes: Mapping[str, Outcome], options: Options) -> Path:
    """Write the record and the page, so that both are there whatever happens to the rest."""
    write_json(folder / RECORD, {"input": str(options.input), **_summary(jobs, outcomes)})
    return write_batch_page(
        folder,
        [
            BatchEntry(job.name, o.state, o.error, o.seconds, Run(job.output))
            if (o := outcomes.get(job.name)) is not None
            else BatchEntry(job.name, "waiting", "", None, Run(job.output))
            for job in jobs
        ],
    )


def _summary(jobs: Sequence[CaptureJob], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    captures = {}
    for job in jobs:
        outcome = outcomes.get(job.name)
        if outcome is None:
            captures[job.name] = {"state": "waiting"}
            continue
        entry = {k: v for k, v in asdict(outcome).items() if k != "name"}
        captures[job.name] = {**entry, "run": str(job.output), **run_figures(Run(job.output))}
    states = [entry["state"] for entry in captures.values()]
    return {"done": states.count("done"), "failed": len(states) - states.count("done"), "captures": captures}


def _table(jobs: Sequence[CaptureJob], outcomes: Mapping[str, Outcome]) -> list[str]:
    """Columns for people: capture, how it ended, photographs, Gaussians, PSNR, time."""
    rows = [("Capture", "Ended", "Photographs", "Gaussians", "PSNR", "Time")]
    for job in jobs:
        outcome, f = outcomes[job.name], run_figures(Run(job.output))
        rows.append(
            (
                job.name,
                outcome.state + (f", after {outcome.attempts} attempts" if outcome.attempts > 1 else ""),
                "" if f["photographs"] is None else str(f["photographs"]),
                "" if f["gaussians"] is None else f"{f['gaussians']:,}",
                "" if f["psnr"] is None else f"{f['psnr']:.2f} dB" + ("" if f["held_out"] else " (training)"),
                duration(outcome.seconds) if outcome.seconds else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        named = [cell.ljust(w) for cell, w in zip(row[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(w) for cell, w in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join([*named, *numbers]).rstrip())
    return [*lines, *(f"{o.name}: {o.error}" for o in outcomes.values() if o.error)]
