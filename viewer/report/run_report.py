"""`write_report`: what went in, what came out, how good it is and how long it took, as one HTML file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...recon.pipeline.reconstruct_config import ReconstructConfig, options_as_json
from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.files import write_bytes
from ...scene.progress import duration
from ...scene.readers import load_run_capture
from ...scene.run import Run
from .report_page import bars, commands, document, paragraph, section, table, text, tiles
from .report_pictures import LEVELS, Level, Pictures
from .report_quality import KEYS, depth, mesh, quality, splat_around, split_words, what_went_in
from .report_svg import line_chart, map_from
from .report_values import is_number, mapping, moves_from_to, placed_count, without_folders

MAX_BYTES = 9_500_000  # mail and chat programs take files of 10 MB
SHORTEST_SHOWN_S = 0.05  # stages that took less are left out


def write_report(run: Run) -> Path:
    """Write `report.html` into the run: one file that needs no network and no scripts. Returns its path.

    Whatever the run does not have yet is left out or said to be missing. Pictures are made smaller until the file is
    below 10 MB. Raises BadInputError when config.json or metrics.json are damaged.
    """
    config, metrics = run.config(), run.metrics()
    capture = _capture(run)
    pictures = Pictures.of(run, metrics, capture)
    for level in LEVELS:
        page = _page(run, config, metrics, capture, pictures, level)
        if len(page) <= MAX_BYTES:
            break
    write_bytes(run.report_path, page)
    return run.report_path


def _page(
    run: Run,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    capture: Capture | None,
    pictures: Pictures,
    level: Level,
) -> bytes:
    title = run.path.resolve().name
    config = without_folders(config)
    sections = [
        f"<header><h1>{text(title)}</h1>{paragraph(_subtitle(config), 'soft')}</header>",
        tiles(_headline(run, metrics, capture)),
        _notes(metrics.get("notes")),
        splat_around(pictures, level),
        section("What went in", *what_went_in(run, metrics, capture, pictures, level)),
        section("Quality", *quality(metrics, pictures, level)),
        section("Where the cameras stood", *_maps(capture), *_pose_errors(metrics)),
        section("Depth from stereo", *depth(pictures, level)),
        section("Mesh", *mesh(metrics, pictures, level)),
        section("Training", *_training(metrics)),
        section("Time", *_times(metrics)),
        section("What next", commands(_next_steps(run, config, metrics))),
        section("How this run was made", _made_by(config)),
    ]
    return document(f"{title} - Fewview report", sections).encode(errors="backslashreplace")


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
    placed, unplaced = placed_count(metrics, capture), len(mapping(metrics, "unplaced"))
    if placed is not None:
        facts.append((f"{placed} of {placed + unplaced}" if unplaced else f"{placed}", "photographs placed"))
    gaussians = mapping(metrics, "training").get("gaussians")
    if is_number(gaussians):
        facts.append((f"{gaussians:,}", "Gaussians"))
    if (moments := moves_from_to(run)) is not None:
        facts.append((f"{moments[0]:g} s to {moments[1]:g} s", "the splat moves"))
    mean, kind = mapping(metrics, "eval", "mean"), split_words(metrics)
    for key, name, form in (("psnr", "PSNR, dB", ".2f"), ("ssim", "SSIM", ".3f"), ("lpips", "LPIPS", ".3f")):
        if is_number(mean.get(key)):
            facts.append((format(mean[key], form), f"{name}, {kind}"))
    total = sum(s for s in mapping(metrics, "seconds").values() if is_number(s))
    if total:
        facts.append((duration(total), "in all"))
    if run.splat_path.is_file():
        facts.append((f"{run.splat_path.stat().st_size / 1e6:.1f} MB", run.splat_path.name))
    return facts


def _pose_errors(metrics: Mapping[str, Any]) -> list[str]:
    """A table of the cameras' errors against true ones, where somebody had some."""
    rows = []
    for which, errors in mapping(metrics, "poses").items():
        values = [mapping(metrics, "poses", which).get(key) for key in ("rotation_mean_deg", "ate", "auc_5", "auc_30")]
        if isinstance(errors, dict) and all(map(is_number, values)):
            rows.append((which, *(f"{value:.3f}" for value in values)))
    head = ("Cameras", "Rotation, degrees", "ATE", "AUC at 5 degrees", "AUC at 30 degrees")
    return [paragraph("Against the true cameras:", "small soft"), table(head, rows, 1)] if rows else []


def _training(metrics: Mapping[str, Any]) -> list[str]:
    training = mapping(metrics, "training")
    told = []
    if is_number(training.get("steps")):
        told.append(f"{training['steps']:,} steps")
    if is_number(training.get("gaussians")):
        told.append(f"{training['gaussians']:,} Gaussians at the end")
    parts = [paragraph(", ".join(told) + ".")] if told else []
    parts += _compared_methods(training)
    found = training.get("curve")
    curve = [p for p in found if isinstance(p, Sequence) and len(p) >= 2] if isinstance(found, list) else []
    charts = []
    for column, name, unit in ((2, "PSNR of one view over the steps, dB", "dB"), (1, "Loss over the steps", "")):
        drawn = [(p[0], p[column]) for p in curve if len(p) > column and is_number(p[0]) and is_number(p[column])]
        svg = line_chart([x for x, _ in drawn], [y for _, y in drawn], name, unit)
        if svg:
            charts.append(f'<div class="panel"><div class="small soft">{text(name)}</div>{svg}</div>')
    return [*parts, f'<div class="two">{"".join(charts)}</div>' if charts else ""]


def _compared_methods(training: Mapping[str, Any]) -> list[str]:
    """Why the method was chosen, and the table behind that where several were measured."""
    found, reason = training.get("comparison"), training.get("reason")
    rows = []
    for row in found if isinstance(found, list) else []:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            continue
        figures = [[v for v in row.get(key, []) if is_number(v)] for key in ("psnr", "ssim")]
        if all(figures):
            db, ssim = (sum(values) / len(values) for values in figures)
            each = ", ".join(f"{value:.2f}" for value in figures[0])
            rows.append((row["name"], f"{db:.2f}", f"{ssim:.3f}", each))
        else:
            rows.append((row["name"], "-", "-", str(row.get("refusal", ""))))
    if not rows:
        return []
    told = (
        "Measured on training photographs alone: each method was fitted without one of them, small and with few steps, "
        "and had to show it. A method other than the first is taken where it is clearly better."
    )
    head = ("Method", "PSNR, dB", "SSIM", "PSNR of each left-out photograph, dB")
    made = [paragraph(told, "small"), table(head, rows, numeric_from=1)]
    return [paragraph(reason), *made] if isinstance(reason, str) else made


def _maps(capture: Capture | None) -> list[str]:
    if capture is None or capture.cameras is None or len(capture) == 0:
        return []
    held_out = tuple(capture.test or ())
    keys = KEYS if held_out else ""
    count = f"{len(capture.points):,} sparse points" if capture.points is not None else "no sparse points"
    drawings = "".join(
        f'<figure class="panel">{map_from(side, capture.cameras, capture.points, held_out, capture.names)}'
        f"<figcaption>from {text(side)}</figcaption></figure>"
        for side in ("above", "the side")
    )
    return [f'<p class="small soft">{keys}{text(count)}</p><div class="two">{drawings}</div>']


def _times(metrics: Mapping[str, Any]) -> list[str]:
    stages = [
        (name.replace("_", " "), float(s), duration(s))
        for name, s in mapping(metrics, "seconds").items()
        if is_number(s) and s >= SHORTEST_SHOWN_S
    ]
    return [bars(stages)] if stages else []


def _next_steps(run: Run, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs (what for, command); every command can be typed as it is."""
    place = without_folders(str(run.path))
    folder = shlex.quote(place)
    again = ["fewview", "reconstruct", str(config.get("input", "INPUT"))]
    if not run.splat_path.is_file():
        if config.get("command") == "demo":
            again = ["fewview", "demo"]
        look = [("Look at what there is", f"fewview view {folder}")] if run.cameras_path.is_file() else []
        return [("Continue it", f"{shlex.join([*again, '-o', place])} --resume"), *look]
    steps = [
        ("Look around in the browser", f"fewview view {folder}"),
        ("Share it, as one page that opens anywhere", f"fewview share {folder} -o scene.html"),
        ("Make a film", f"fewview render {folder}"),
        ("Remove floaters", f"fewview edit {folder} --floaters -o {shlex.quote(f'{place}-edited')}"),
        ("Write it for other programs", f"fewview convert {folder} scene.spz"),
    ]
    trained = mapping(metrics, "training").get("steps")
    if trained is not None and is_number(trained):
        longer = [*again, "-o", f"{place}-longer", "--steps", str(2 * trained)]
        if mapping(config, "options").get("eval"):
            longer.append("--eval")
        steps.append(("Try with twice the training", shlex.join(longer)))
    return steps


def _made_by(config: Mapping[str, Any]) -> str:
    return f"<pre>{text(_command_line(config))}</pre>" if config.get("command") else ""


def _command_line(config: Mapping[str, Any]) -> str:
    """The line that makes such a run: as it was recorded, or from the subcommand, the input and the options."""
    command = config["command"]
    if isinstance(command, list):
        return shlex.join(map(str, command))
    if " " in str(command) or command == "demo":  # the demo has its own input and options
        return str(command) if " " in str(command) else "fewview demo"
    words = ["fewview", str(command), str(config.get("input", "INPUT"))]
    usual = options_as_json(ReconstructConfig())
    for name, value in mapping(config, "options").items():
        flag = "--" + str(name).replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False and value != usual.get(name):
            words += [flag, str(value)]
    return shlex.join(words)


def _notes(notes: Any) -> str:
    """Sentences that a reader has to know before the pictures, such as an input that was understood only in part."""
    if not isinstance(notes, list) or not notes:
        return ""
    return section("Notes", f'<ul class="panel notes">{"".join(f"<li>{text(note)}</li>" for note in notes)}</ul>')
