"""`write_report`: what went in, what came out, how good it is and how long it took, as one HTML file."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..scene.capture import Capture, evenly_spaced, fit_size
from ..scene.errors import BadInputError
from ..scene.files import write_bytes
from ..scene.images import load_pixels
from ..scene.progress import duration
from ..scene.readers import load_run_capture
from ..scene.run import Run
from .pictures import ERROR_RANGE, error_map, opaque, resize_to
from .report_page import bars, document, figure, paragraph, section, table, text, tiles
from .report_svg import line_chart, top_view

MAX_VIEWS, PICTURE_PX = 12, 640  # 36 pictures of at most 640 px stay well below 10 MB
MAX_NAMES = 60
SLOWEST_SHOWN_S = 0.05  # stages that took less are left out


def write_report(run: Run) -> Path:
    """Write `report.html` into the run: one file that needs no network and no scripts. Returns its path.

    Whatever the run does not have yet is left out or said to be missing. Raises BadInputError when config.json or
    metrics.json are damaged.
    """
    config, metrics = run.config(), run.metrics()
    capture = _capture(run)
    title = run.path.resolve().name
    sections = [
        f"<header><h1>{text(title)}</h1>{paragraph(_subtitle(config), 'soft')}</header>",
        tiles(_headline(run, metrics, capture)),
        section("Notes", _list(metrics.get("notes"))),
        section("What went in", *_photographs(metrics, capture)),
        section("Quality", *_quality(run, metrics)),
        section("Training", *_training(metrics)),
        section("From above", *_map(capture)),
        section("Time", *_times(metrics)),
        section("What next", *_next_steps(run, config)),
    ]
    write_bytes(run.report_path, document(f"{title} - Fewview report", sections).encode())
    return run.report_path


def _capture(run: Run) -> Capture | None:
    try:
        return load_run_capture(run) if run.cameras_path.is_file() else None
    except BadInputError:  # the report is about what is there
        return None


def _subtitle(config: Mapping[str, Any]) -> str:
    parts = [config.get("input"), f"Fewview {config['version']}" if config.get("version") else None]
    return " · ".join(str(p) for p in parts if p)


def _headline(run: Run, metrics: Mapping[str, Any], capture: Capture | None) -> list[tuple[str, str]]:
    facts = []
    placed, unplaced = _placed_count(metrics, capture), len(_mapping(metrics, "unplaced"))
    if placed is not None:
        facts.append((f"{placed} of {placed + unplaced}" if unplaced else f"{placed}", "photographs placed"))
    gaussians = _mapping(metrics, "training").get("gaussians")
    if gaussians:
        facts.append((f"{gaussians:,}", "Gaussians"))
    mean, kind = _mapping(_mapping(metrics, "eval"), "mean"), _split_words(metrics)
    for key, name, form in (("psnr", "PSNR, dB", ".2f"), ("ssim", "SSIM", ".3f"), ("lpips", "LPIPS", ".3f")):
        if _is_number(mean.get(key)):
            facts.append((format(mean[key], form), f"{name}, {kind}"))
    total = sum(s for s in _mapping(metrics, "seconds").values() if _is_number(s))
    if total:
        facts.append((duration(total), "in all"))
    if run.splat_path.is_file():
        facts.append((f"{run.splat_path.stat().st_size / 1e6:.1f} MB", run.splat_path.name))
    return facts


def _photographs(metrics: Mapping[str, Any], capture: Capture | None) -> list[str]:
    parts = []
    unplaced = _mapping(metrics, "unplaced")
    if capture is not None:
        held_out = set(capture.test or ())
        sizes = sorted({(f.width, f.height) for f in capture.frames})
        size = f"{sizes[0][0]} x {sizes[0][1]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
        parts.append(
            paragraph(
                f"{len(capture)} photographs have a camera (working size {size} pixels): "
                f"{len(capture) - len(held_out)} to train on, {len(held_out) or 'none'} held out to measure with."
            )
        )
        shown = [f"{n} (held out)" if i in held_out else n for i, n in enumerate(capture.names)]
        more = f" and {len(shown) - MAX_NAMES} more" if len(shown) > MAX_NAMES else ""
        parts.append(paragraph(", ".join(shown[:MAX_NAMES]) + more, "soft small"))
    elif (count := _placed_count(metrics, None)) is not None:
        parts.append(paragraph(f"{count} photographs have a camera."))
    if unplaced:
        parts.append(paragraph(f"{len(unplaced)} could not be used:", "warn"))
        parts.append(table(("Photograph", "Why"), list(unplaced.items()), numeric_from=2))
    return parts


def _quality(run: Run, metrics: Mapping[str, Any]) -> list[str]:
    evaluation = _mapping(metrics, "eval")
    views = [v for v in evaluation.get("views") or [] if isinstance(v, dict)]
    if not views:
        return [paragraph("Not measured: no photographs were held out.", "soft")]
    held_out = any(v.get("split") == "test" for v in views)
    parts = []
    if not held_out:
        parts.append(
            paragraph(
                "Held-out quality was not measured: no photographs were held out. The figures and pictures below are "
                "of photographs that the splat was trained on, which always look better than new views.",
                "warn",
            )
        )
    if evaluation.get("lpips_missing"):
        parts.append(paragraph(evaluation["lpips_missing"], "soft small"))
    rows = [
        (str(v.get("name", "?")), "held out" if v.get("split") == "test" else "training", *_figures(v)) for v in views
    ]
    mean = _mapping(evaluation, "mean")
    rows.append(("Mean", "", *_figures(mean)))
    parts.append(table(("Photograph", "Kind", "PSNR, dB", "SSIM", "LPIPS"), rows, numeric_from=2))
    ranked = sorted(views, key=lambda v: v["psnr"] if _is_number(v.get("psnr")) else math.inf)
    chosen = [ranked[i] for i in evenly_spaced(range(len(ranked)), MAX_VIEWS)]
    which = "from the worst to the best" if len(chosen) == len(views) else f"{len(chosen)}, from the worst to the best"
    pictures = [_view(run, metrics, v) for v in chosen]
    if any(pictures):
        parts.append(
            paragraph(
                f"Pictures {which}. The error map is the mean absolute difference of each pixel: black is none, "
                f"yellow is {ERROR_RANGE:g} of full scale or more.",
                "soft small",
            )
        )
    return parts + pictures


def _view(run: Run, metrics: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    rendering, photo = _picture(run, view.get("render")), _picture(run, view.get("photo"))
    if rendering is None and photo is None:
        return ""
    background = _mapping(metrics, "training").get("background")
    figures = []
    if photo is not None:
        photo = opaque(photo, background if isinstance(background, list) and len(background) == 3 else None)
        figures.append(figure(_shrunk(photo), "photograph"))
    if rendering is not None:
        rendering = opaque(rendering)
        figures.append(figure(_shrunk(rendering), "rendering"))
    if photo is not None and rendering is not None:
        photo = resize_to(photo, rendering.shape[1], rendering.shape[0])
        figures.append(figure(_shrunk(error_map(rendering, photo)), "error"))
    psnr, ssim, _ = _figures(view)
    kind = "held out" if view.get("split") == "test" else "trained on"
    head = f"<h3>{text(view.get('name', '?'))}<small>{kind} · PSNR {psnr} dB · SSIM {ssim}</small></h3>"
    return f'<div class="view">{head}<div class="pictures">{"".join(figures)}</div></div>'


def _picture(run: Run, relative: Any) -> np.ndarray | None:
    """Pixels of a picture inside the run; None when it is absent, damaged or outside."""
    if not isinstance(relative, str):
        return None
    path = (run.path / relative).resolve()
    if not path.is_relative_to(run.path.resolve()) or not path.is_file():
        return None
    try:
        return load_pixels(path)
    except BadInputError:
        return None


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    width, height = fit_size(pixels.shape[1], pixels.shape[0], PICTURE_PX)
    return pixels if width == pixels.shape[1] else resize_to(pixels, width, height)


def _training(metrics: Mapping[str, Any]) -> list[str]:
    training = _mapping(metrics, "training")
    told = []
    if training.get("steps"):
        told.append(f"{training['steps']:,} steps")
    if training.get("gaussians"):
        told.append(f"{training['gaussians']:,} Gaussians at the end")
    parts = [paragraph(", ".join(told) + ".")] if told else []
    curve = [p for p in training.get("curve") or [] if isinstance(p, Sequence) and len(p) >= 2]
    charts = []
    for column, name, unit in ((2, "PSNR of one view over the steps, dB", "dB"), (1, "Loss over the steps", "")):
        drawn = [(p[0], p[column]) for p in curve if len(p) > column and _is_number(p[0]) and _is_number(p[column])]
        svg = line_chart([x for x, _ in drawn], [y for _, y in drawn], "steps", unit)
        if svg:
            charts.append(f'<div class="panel"><div class="small soft">{name}</div>{svg}</div>')
    return [*parts, f'<div class="two">{"".join(charts)}</div>' if charts else ""]


def _map(capture: Capture | None) -> list[str]:
    if capture is None or capture.cameras is None or len(capture) == 0:
        return []
    held_out = tuple(capture.test or ())
    keys = '<span class="key">trained on</span>' + ('<span class="key held-out">held out</span>' if held_out else "")
    count = f"{len(capture.points):,} sparse points" if capture.points is not None else "no sparse points"
    drawing = top_view(capture.cameras, capture.points, held_out, capture.names)
    return [f'<div class="panel"><div class="small soft">{keys}{text(count)}</div>{drawing}</div>']


def _times(metrics: Mapping[str, Any]) -> list[str]:
    stages = [
        (name, float(s), duration(s))
        for name, s in _mapping(metrics, "seconds").items()
        if _is_number(s) and s >= SLOWEST_SHOWN_S
    ]
    return [bars(stages)] if stages else []


def _next_steps(run: Run, config: Mapping[str, Any]) -> list[str]:
    folder = shlex.quote(str(run.path))
    commands = [("Look at it in the browser", f"fewview view {folder}"), ("Make a film", f"fewview render {folder}")]
    if not run.splat_path.is_file():
        source = shlex.quote(str(config.get("input", "INPUT")))
        commands.insert(0, ("Continue it", f"fewview reconstruct {source} -o {folder} --resume"))
    parts = [f"{paragraph(what)}<pre>{text(command)}</pre>" for what, command in commands]
    if config.get("command"):
        parts.append(f"{paragraph('This run was made by')}<pre>{text(_command_line(config))}</pre>")
    return parts


def _command_line(config: Mapping[str, Any]) -> str:
    """The line that makes such a run: as it was recorded, or from the subcommand, the input and the options."""
    command = config["command"]
    if isinstance(command, list):
        return shlex.join(map(str, command))
    if " " in str(command):
        return str(command)
    words = ["fewview", str(command), str(config.get("input", "INPUT"))]
    for name, value in _mapping(config, "options").items():
        flag = "--" + str(name).replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return shlex.join(words)


def _figures(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    forms = (("psnr", ".2f"), ("ssim", ".3f"), ("lpips", ".3f"))
    psnr, ssim, lpips = (format(entry[k], f) if _is_number(entry.get(k)) else "-" for k, f in forms)
    return psnr, ssim, lpips


def _split_words(metrics: Mapping[str, Any]) -> str:
    views = _mapping(metrics, "eval").get("views") or []
    return "held out" if any(isinstance(v, dict) and v.get("split") == "test" for v in views) else "training views"


def _placed_count(metrics: Mapping[str, Any], capture: Capture | None) -> int | None:
    if capture is not None:
        return len(capture)
    placed = metrics.get("placed")
    return len(placed) if isinstance(placed, list) else placed if isinstance(placed, int) else None


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _list(items: Any) -> str:
    if not isinstance(items, list) or not items:
        return ""
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
