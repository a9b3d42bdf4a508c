"""Summary of a finished run, for a person as lines and for a program as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..scene.progress import duration
from ..scene.run import Run

MAX_NAMED = 5  # photographs that are named one by one


def result_of(run: Run) -> dict[str, Any]:
    """The run's files and figures, as --json prints them."""
    metrics = run.metrics()
    evaluation = metrics.get("eval") or {}
    training = metrics.get("training") or {}
    return {
        "run": str(run.path),
        "splat": _existing(run.splat_path),
        "report": _existing(run.report_path),
        "placed": metrics.get("placed"),
        "unplaced": metrics.get("unplaced", {}),
        "confidence": run.camera_confidence(),
        "gaussians": training.get("gaussians"),
        "steps": training.get("steps"),
        "eval": {"split": evaluation.get("split"), **(evaluation.get("mean") or {})},
        "seconds": metrics.get("seconds", {}),
        "notes": metrics.get("notes", []),
    }


def lines_of(run: Run) -> list[str]:
    """The same for people."""
    metrics = run.metrics()
    rows = [
        ("Photographs", _photographs(metrics)),
        ("Splat", _splat(run, metrics)),
        ("Quality", quality(metrics)),
        ("Report", _existing(run.report_path)),
        ("Time", _time(metrics)),
    ]
    lines = [f"{name:<12} {text}" for name, text in rows if text]
    for name, reason in list((metrics.get("unplaced") or {}).items())[:MAX_NAMED]:
        sentence = reason if reason.startswith(f"{name} ") else f"{name}: {reason}"  # most begin with the name
        lines.append(f"Left out     {sentence}")
    if (more := len(metrics.get("unplaced") or {}) - MAX_NAMED) > 0:
        lines.append(f"             and {more} more; metrics.json has them all")
    lines += [f"Note         {note}" for note in metrics.get("notes", [])]
    return lines


def quality(metrics: Mapping[str, Any]) -> str:
    """`PSNR 24.31 dB, SSIM 0.812 on 7 held-out photographs`; on their right halves where colours were fitted."""
    evaluation = metrics.get("eval")
    if not evaluation or not evaluation["views"]:
        return ""
    mean, count = evaluation["mean"], len(evaluation["views"])
    figures = [f"PSNR {mean['psnr']:.2f} dB", f"SSIM {mean['ssim']:.3f}"]
    if mean.get("lpips") is not None:
        figures.append(f"LPIPS {mean['lpips']:.3f}")
    kind = "held-out" if evaluation["split"] == "test" else "training"
    hint = "" if kind == "held-out" else "; --eval holds some out for an honest figure"
    part = "the right half of " if "unfitted" in evaluation else ""
    return f"{', '.join(figures)} on {part}{count} {kind} photograph{'' if count == 1 else 's'}{hint}"


def _photographs(metrics: Mapping[str, Any]) -> str:
    placed, unplaced = metrics.get("placed"), len(metrics.get("unplaced") or {})
    if placed is None:
        return ""
    return f"{placed} placed" + (f", {unplaced} could not be placed" if unplaced else "")


def _splat(run: Run, metrics: Mapping[str, Any]) -> str:
    if not run.splat_path.is_file():
        return ""
    count = (metrics.get("training") or {}).get("gaussians")
    return f"{run.splat_path}" + (f" ({count:,} Gaussians)" if count else "")


def _time(metrics: Mapping[str, Any]) -> str:
    seconds = metrics.get("seconds") or {}
    if not seconds:
        return ""
    parts = ", ".join(f"{stage.replace('_', ' ')} {duration(s)}" for stage, s in seconds.items() if s >= 0.5)
    total = duration(sum(seconds.values()))
    return f"{total} ({parts})" if parts else total


def _existing(path: Path) -> str | None:
    return str(path) if path.is_file() else None
