"""The report's sections with pictures: the splat, the photographs that went in, and renderings beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.files import read_json
from ...scene.run import Run
from ..pictures import ERROR_RANGE
from .report_page import figure, folded, paragraph, table, text
from .report_pictures import Level, Picture, Pictures, View, sized
from .report_svg import dot_strip
from .report_values import figures, is_held_out, is_number, mapping, placed_count, ranked_views

MAX_ROWS = 500  # of a table; metrics.json has them all
OPEN_ROWS = 12  # longer tables are folded
KEYS = '<span class="key">trained on</span><span class="key held-out">held out</span>'
MEASURES = "PSNR and SSIM say how near a rendering is to its photograph; more is better."
LPIPS = "LPIPS says how different the two look to people; less is better."


def splat_around(pictures: Pictures, level: Level) -> str:
    if not pictures.around:
        return ""
    shown = "".join(_figure(p, level) for p in pictures.around)
    return f'<div class="pictures three around">{shown}</div>'


def what_went_in(
    run: Run, metrics: Mapping[str, Any], capture: Capture | None, pictures: Pictures, level: Level
) -> list[str]:
    """Counts, how the cameras were found, the photographs themselves, and which could not be used and why."""
    parts = []
    if capture is not None:
        held_out = len(capture.test or ())
        sizes = sorted({(f.width, f.height) for f in capture.frames})
        size = f"{sizes[0][0]} x {sizes[0][1]} pixels" if len(sizes) == 1 else f"{len(sizes)} sizes"
        sentence = (
            f"{len(capture)} photographs have a camera (working size {size}): {len(capture) - held_out} to train on, "
            f"{held_out or 'none'} held out to measure with."
        )
        if capture.duration_s > 0 and capture.times_s is not None:
            times = capture.times_s
            sentence += f" They were taken from {float(times.min()):g} s to {float(times.max()):g} s."
        parts.append(paragraph(f"{sentence} {_how_placed(run)}".strip()))
    elif (count := placed_count(metrics, None)) is not None:
        parts.append(paragraph(f"{count} photographs have a camera."))
    if pictures.sheet:
        shown = "".join(_sheet_picture(picture, out, level) for picture, out in pictures.sheet)
        if any(out for _, out in pictures.sheet):
            parts.append(f'<p class="small soft">{KEYS}</p>')
        parts.append(f'<div class="sheet">{shown}</div>')
        if capture is not None and len(capture) > len(pictures.sheet):
            parts.append(
                paragraph(f"{len(pictures.sheet)} of {len(capture)} photographs, evenly chosen.", "soft small")
            )
    parts += _unsure(run)
    parts += _strongest_links(run)
    if unplaced := mapping(metrics, "unplaced"):
        parts.append(paragraph(f"{len(unplaced)} could not be used:", "warn"))
        parts.append(
            _table(("Photograph", "Why"), [(str(k), str(v)) for k, v in unplaced.items()], 2, "could not be used")
        )
    return parts


def _unsure(run: Run) -> list[str]:
    """The photographs whose estimated camera may be wrong, and how likely it is right."""
    unsure = sorted((c, name) for name, c in run.unsure_cameras().items())
    if not unsure:
        return []
    return [
        paragraph(f"{len(unsure)} of {len(run.camera_confidence())} estimated cameras are not sure:", "warn"),
        _table(("Photograph", "Likely right"), [(name, f"{c:.0%}") for c, name in unsure], 2, "not sure"),
    ]


def _strongest_links(run: Run) -> list[str]:
    """With which others each photograph shares most points, those that share fewest first; folded."""
    rows = []
    for name, others in mapping(_stats_of_poses(run), "links").items():
        counts = [(str(o), n) for o, n in others.items() if is_number(n)] if isinstance(others, dict) else []
        most = max((n for _, n in counts), default=0)
        rows.append((most, (str(name), ", ".join(f"{o} ({n:,.0f})" for o, n in counts) or "none")))
    if len(rows) < 3:
        return []
    rows.sort(key=lambda row: row[0])
    made = table(("Photograph", "Shares points with"), [cells for _, cells in rows[:MAX_ROWS]], 2)
    return [folded("How the photographs hang together, the weakest first", made)]


def _stats_of_poses(run: Run) -> Mapping[str, Any]:
    """Figures of the estimation of cameras; none where there was no such, or where they cannot be read."""
    try:
        return mapping(read_json(run.poses_path), "stats") if run.poses_path.is_file() else {}
    except (BadInputError, AttributeError):
        return {}


def _how_placed(run: Run) -> str:
    """One sentence on the estimation of cameras, where there was one."""
    stats = _stats_of_poses(run)
    told = []
    if is_number(stats.get("verified_pairs")) and is_number(stats.get("pairs")):
        told.append(f"{stats['verified_pairs']} of {stats['pairs']} pairs of photographs match")
    if is_number(stats.get("points")):
        told.append(f"{stats['points']:,} points were seen in several")
    if is_number(stats.get("error_px")):
        told.append(f"they fit the cameras to {stats['error_px']:.2f} pixels")
    return f"{', '.join(told)}." if told else ""


def quality(metrics: Mapping[str, Any], pictures: Pictures, level: Level) -> list[str]:
    """Text on what was measured, all figures, then the worst and the best views in pictures."""
    views = ranked_views(metrics)
    if not views:
        return [paragraph("Not measured: no photographs were held out.", "soft")]
    parts = []
    if not any(map(is_held_out, views)):
        parts.append(
            paragraph(
                "Held-out quality was not measured: no photographs were held out. The figures and pictures below are "
                "of photographs that the splat was trained on, which always look better than new views.",
                "warn",
            )
        )
    parts += [*_half_image(metrics), *_seen(metrics)]
    missing = mapping(metrics, "eval").get("lpips_missing")
    parts.append(paragraph(f"{MEASURES} {missing or LPIPS}", "soft small"))
    parts += [_all_figures(metrics, views), *_ranked(views, pictures, level)]
    return parts


def _half_image(metrics: Mapping[str, Any]) -> list[str]:
    """The way of measuring where photographs had colour transforms, with the reason and the figures without it."""
    unfitted = mapping(metrics, "eval", "unfitted")
    if not unfitted:
        return []
    psnr, ssim, lpips = figures(unfitted)
    whole = f"PSNR {psnr} dB, SSIM {ssim}" + ("" if lpips == "-" else f", LPIPS {lpips}")
    reason = mapping(metrics, "training", "appearance").get("reason", "")
    return [
        paragraph(
            f"{reason} So the colours of each picture below were fitted to its photograph on the left half, and its "
            f"figures are of the right half. Whole pictures without that have on average {whole}."
        )
    ]


def _seen(metrics: Mapping[str, Any]) -> list[str]:
    """The figures of what few training photographs have seen; what they have not is empty, or a guess."""
    seen = mapping(metrics, "eval", "seen")
    if not seen or not is_number(seen.get("share")) or not is_number(seen.get("psnr")):
        return []
    psnr, ssim, _ = figures(seen)
    return [
        paragraph(
            f"The training photographs have seen {100 * seen['share']:.0f} % of what these photographs show, as far as "
            f"the splat's own depth can tell; there it has on average PSNR {psnr} dB, SSIM {ssim}. The rest is empty, "
            "or a guess, and striped in the last picture of each."
        )
    ]


def _all_figures(metrics: Mapping[str, Any], views: list[Mapping[str, Any]]) -> str:
    """The table of all views from the worst to the best, over a strip of their PSNR where they are many."""
    mixed = len(set(map(is_held_out, views))) > 1
    rows = [(f"{v.get('name', '?')}{_kind(v) if mixed else ''}", *figures(v)) for v in views]
    mean = ("Mean", *figures(mapping(metrics, "eval", "mean")))
    columns = 4 if any(row[3] != "-" for row in [*rows, mean]) else 3
    head = ("Photograph", "PSNR, dB", "SSIM", "LPIPS")[:columns]
    known = [(v["psnr"], str(v.get("name", "?"))) for v in views if is_number(v.get("psnr"))]
    strip = dot_strip([x for x, _ in known], [n for _, n in known], "dB")
    told = f'<div class="panel"><div class="small soft">PSNR of each photograph, dB</div>{strip}</div>' if strip else ""
    if len(rows) <= OPEN_ROWS:
        return told + _table(head, [row[:columns] for row in [*rows, mean]], 1, "")
    means = table(head, [mean[:columns]], numeric_from=1)
    return told + means + _table(head, [row[:columns] for row in rows], 1, "from the worst to the best")


def _kind(view: Mapping[str, Any]) -> str:
    return " (held out)" if is_held_out(view) else " (trained on)"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], numeric_from: int, what: str) -> str:
    """A table, folded when it is long."""
    made = table(head, rows[:MAX_ROWS], numeric_from)
    if len(rows) > MAX_ROWS:
        made += paragraph(f"and {len(rows) - MAX_ROWS} more, in metrics.json", "soft small")
    return made if len(rows) <= OPEN_ROWS + 1 else folded(f"All {len(rows)} photographs {what}", made)


def _ranked(views: list[Mapping[str, Any]], pictures: Pictures, level: Level) -> list[str]:
    shown = [_view(view, level) for view in pictures.views if view.pictures]
    if not shown:
        return []
    which = "From the worst to the best" if len(shown) == len(views) else f"The worst and the best of {len(views)}"
    scale = (
        f"{which}. The error is the mean absolute difference of each pixel: black is none, yellow is "
        f"{100 * ERROR_RANGE:g} % of full scale or more."
    )
    return [paragraph(scale, "soft small"), *shown]


def _view(view: View, level: Level) -> str:
    psnr, ssim, lpips = figures(view.metrics)
    told = ["held out" if view.held_out else "trained on", f"PSNR {psnr} dB", f"SSIM {ssim}"]
    if lpips != "-":
        told.append(f"LPIPS {lpips}")
    badge = f'<span class="badge">{text(view.rank)}</span>' if view.rank else ""
    head = f"<h3>{text(view.name)}{badge}<small>{text(' · '.join(told))}</small></h3>"
    shown = "".join(_figure(p, level) for p in view.pictures)
    return f'<div class="view">{head}<div class="pictures three">{shown}</div></div>'


def depth(pictures: Pictures, level: Level) -> list[str]:
    if not pictures.depth:
        return []
    note = "What dense stereo found before training: red is near, blue is far. Training starts from it."
    shown = "".join(_figure(p, level) for p in pictures.depth)
    return [paragraph(note, "soft small"), f'<div class="pictures pairs">{shown}</div>']


def mesh(metrics: Mapping[str, Any], pictures: Pictures, level: Level) -> list[str]:
    """Figures of the mesh, and pictures of it beside photographs."""
    found, fit = mapping(metrics, "mesh"), mapping(metrics, "mesh", "points")
    if not is_number(found.get("faces")):
        return []
    told = f"{found['faces']:,} faces"
    if is_number(fit.get("median_percent")) and is_number(fit.get("in_box")):
        share = f"{fit['median_percent']:.2f} % of the diagonal of its box"
        told += f". Half of {fit['in_box']:,} sparse points are within {share}"
    wider = replace(level, picture_px=2 * level.picture_px)  # four pictures stand side by side
    shown = "".join(_figure(p, wider) for p in pictures.mesh)
    return [paragraph(f"{told}.", "small"), f'<div class="pictures">{shown}</div>']


def _figure(picture: Picture, level: Level) -> str:
    return figure(sized(picture, level.picture_px), picture.caption, level.quality)


def _sheet_picture(picture: Picture, held_out: bool, level: Level) -> str:
    return figure(sized(picture, level.sheet_px), picture.caption, level.quality, "held-out" if held_out else "")


def split_words(metrics: Mapping[str, Any]) -> str:
    """The photographs, or the part of them, that the figures are of."""
    split = "held out" if any(map(is_held_out, ranked_views(metrics))) else "training views"
    return f"{split}, right halves" if mapping(metrics, "eval", "unfitted") else split
