"""`write_batch_page`: the reports of many captures on one page, each with its pictures, figures and notes."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...scene.errors import FewviewError
from ...scene.files import write_bytes
from ...scene.progress import duration
from ...scene.run import Run
from .report_page import document, figure, paragraph, text, tiles
from .report_pictures import picture_inside, sized_pixels
from .report_values import is_number, mapping, placed_count, ranked_views

THUMBNAIL_PX = 320
QUALITY = 78  # of the thumbnails' JPEG
MAX_NOTES = 3  # of a run; its report has them all


@dataclass(frozen=True)
class BatchEntry:
    """A capture of a batch, and how it ended."""

    name: str
    state: str  # done, failed, interrupted, waiting
    error: str
    seconds: float | None
    run: Run


def write_batch_page(folder: Path, entries: Sequence[BatchEntry]) -> Path:
    """Write `index.html` into the batch's folder, which links to the runs' reports beside it. Returns its path.

    Runs may be unfinished or damaged: what cannot be read is left out.
    """
    title = folder.resolve().name
    done = [e for e in entries if e.state == "done"]
    psnrs = [p for e in done if (p := run_figures(e.run).get("psnr")) is not None]
    facts = [(str(len(done)), "done"), (str(sum(e.state == "failed" for e in entries)), "failed")]
    if psnrs:
        facts.append((f"{sum(psnrs) / len(psnrs):.2f} dB", "mean PSNR"))
    if times := [e.seconds for e in entries if e.seconds]:
        facts.append((duration(sum(times)), "together, one after the other"))
    sections = [
        f"<header><h1>{text(title)}</h1>{paragraph(f'{len(entries)} captures', 'soft')}</header>",
        tiles(facts),
        *(_entry(folder, entry) for entry in entries),
    ]
    path = folder / "index.html"
    write_bytes(path, document(f"{title} - Fewview batch", sections).encode(errors="backslashreplace"))
    return path


def run_figures(run: Run) -> dict[str, Any]:
    """Photographs, Gaussians, PSNR, SSIM and their split, as far as the run has them; `held_out` for a fair figure."""
    metrics = _metrics(run)
    evaluation, training = mapping(metrics, "eval"), mapping(metrics, "training")
    mean = mapping(evaluation, "mean")
    found = {
        "photographs": placed_count(metrics, None),
        "gaussians": training.get("gaussians"),
        "psnr": mean.get("psnr"),
        "ssim": mean.get("ssim"),
    }
    held_out = evaluation.get("split") == "test"
    return {k: v if is_number(v) else None for k, v in found.items()} | {"held_out": held_out}


def _entry(folder: Path, entry: BatchEntry) -> str:
    name = text(entry.name)
    if entry.run.report_path.is_file():
        link = quote(entry.run.report_path.resolve().relative_to(folder.resolve()).as_posix())
        name = f'<a href="{html.escape(link)}">{name}</a>'
    badge = "" if entry.state == "done" else f'<span class="badge">{text(entry.state)}</span>'
    facts = [f"{name}{badge}<small>{text(_told(entry))}</small>"]
    notes = [n for n in (_metrics(entry.run).get("notes") or [])[:MAX_NOTES] if isinstance(n, str)]
    parts = [
        f"<h3>{''.join(facts)}</h3>",
        _thumbnails(entry.run),
        f'<p class="warn">{text(entry.error)}</p>' if entry.error else "",
        f"<ul>{''.join(f'<li>{text(n)}</li>' for n in notes)}</ul>" if notes else "",
    ]
    return f'<div class="view">{"".join(parts)}</div>'


def _told(entry: BatchEntry) -> str:
    f = run_figures(entry.run)
    said = []
    if f["photographs"] is not None:
        said.append(f"{f['photographs']} photographs")
    if f["gaussians"] is not None:
        said.append(f"{f['gaussians']:,} Gaussians")
    if f["psnr"] is not None:
        said.append(f"{f['psnr']:.2f} dB on {'held-out' if f['held_out'] else 'training'} photographs")
    if entry.seconds:
        said.append(duration(entry.seconds))
    return ", ".join(said)


def _thumbnails(run: Run) -> str:
    """A photograph and its rendering, of the measured view in the middle of the ranking."""
    views = ranked_views(_metrics(run))
    if not views:
        return ""
    view = views[len(views) // 2]
    pairs = (("photo", "photograph"), ("render", "rendering"))
    pictures = [(picture_inside(run, view.get(key)), caption) for key, caption in pairs]
    shown = "".join(figure(sized_pixels(p, THUMBNAIL_PX), c, QUALITY) for p, c in pictures if p is not None)
    return f'<div class="pictures pairs">{shown}</div>' if shown else ""


def _metrics(run: Run) -> Mapping[str, Any]:
    try:
        return run.metrics()
    except (FewviewError, OSError):
        return {}
