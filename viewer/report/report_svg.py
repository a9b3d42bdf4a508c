"""Small inline drawings for the report: charts, and the scene from two sides. Colours come from the page's CSS."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from ...render.aim import up_direction
from ...scene.cameras import Cameras
from ...scene.capture import evenly_spaced
from ...scene.point_cloud import PointCloud

MAX_DOTS, MAX_CAMERAS = 2000, 500
CHART_W, CHART_H, LEFT, BOTTOM, TOP, RIGHT = 460, 200, 44, 26, 12, 62


def line_chart(x: Sequence[float], y: Sequence[float], name: str, unit: str) -> str:
    """An SVG line through the finite points of (x, y), with round ticks and the last value written at its end."""
    points = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if len(points) < 2:
        return ""
    xs, ys = np.array(points).T
    x_ticks, y_ticks = round_ticks(0, float(xs.max()), 4), round_ticks(float(ys.min()), float(ys.max()), 4)
    low, high = min(y_ticks[0], float(ys.min())), max(y_ticks[-1], float(ys.max()))
    width, height = CHART_W - LEFT - RIGHT, CHART_H - TOP - BOTTOM
    px = LEFT + width * xs / max(float(xs.max()), 1e-12)
    py = TOP + height * (1 - (ys - low) / max(high - low, 1e-12))
    parts = [f'<svg viewBox="0 0 {CHART_W} {CHART_H}" role="img" aria-label="{html.escape(name)}" class="chart">']
    for tick in y_ticks:
        at = TOP + height * (1 - (tick - low) / max(high - low, 1e-12))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + width}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        at = LEFT + width * tick / max(float(xs.max()), 1e-12)
        if at <= LEFT + width + 1:
            parts.append(f'<text x="{at:.1f}" y="{CHART_H - 8}" text-anchor="middle">{tick:g}</text>')
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
    parts.append(f'<polyline class="line" points="{path}"/>')
    parts.append(f'<circle class="dot" cx="{px[-1]:.1f}" cy="{py[-1]:.1f}" r="3.5"/>')
    label = f"{ys[-1]:.3g} {unit}".strip()
    parts.append(f'<text class="value" x="{px[-1] + 8:.1f}" y="{py[-1] + 4:.1f}">{html.escape(label)}</text></svg>')
    return "".join(parts)


def dot_strip(values: Sequence[float], names: Sequence[str], unit: str) -> str:
    """An SVG axis with a dot for each value and a mark at their mean; nothing for fewer than four values."""
    if len(values) < 4:
        return ""
    ticks = round_ticks(min(values), max(values), 6)
    low, high, width = ticks[0], max(ticks[-1], max(values)), 2 * CHART_W - 2 * LEFT

    def at(value: float) -> float:
        return LEFT + width * (value - low) / max(high - low, 1e-12)

    parts = [f'<svg viewBox="0 0 {2 * CHART_W} 62" role="img" aria-label="one dot for each photograph" class="chart">']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="8" y2="38"/>')
        parts.append(f'<text x="{at(tick):.1f}" y="56" text-anchor="middle">{tick:g}</text>')
    for value, name in zip(values, names, strict=True):
        title = f"<title>{html.escape(name)}: {value:.2f} {html.escape(unit)}</title>"
        parts.append(f'<circle class="mark" cx="{at(value):.1f}" cy="23" r="5">{title}</circle>')
    mean = at(sum(values) / len(values))
    return "".join(parts) + f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="8" y2="38"/></svg>'


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """About `about` round numbers that cover [low, high]."""
    span = max(high - low, 1e-9 * max(abs(low), abs(high), 1.0))
    rough = span / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
    first = math.floor(low / step + 1e-9) * step
    count = math.ceil((high - first) / step - 1e-9) + 1
    return [round(first + i * step, 12) for i in range(count)]


def map_from(
    side: str, cameras: Cameras, points: PointCloud | None, held_out: Sequence[int], names: Sequence[str]
) -> str:
    """The cameras with their fields of view, and the sparse points in their colours, from `above` or from `the side`.

    From above, the direction that the cameras look in on average points up the page; from the side it points right.
    """
    up = up_direction(cameras).double().numpy()
    world_from_cam = cameras.world_from_cam.double().numpy()
    forward = world_from_cam[:, :3, 2].mean(0)
    forward = forward - (forward @ up) * up
    if np.linalg.norm(forward) < 1e-3:  # cameras all around, or looking straight down
        forward = np.cross(up, world_from_cam[0, :3, 0])
    forward = forward / max(float(np.linalg.norm(forward)), 1e-12)
    # [2, 3]; y runs down the page
    page_from_world = np.stack([np.cross(forward, up), -forward] if side == "above" else [forward, -up])
    centers = world_from_cam[:, :3, 3] @ page_from_world.T
    dots, colors = _dots(points, page_from_world)
    low, high = _frame(centers, dots)
    size = max(float((high - low).max()), 1e-9)
    scale = 640 / size
    width, height = (high - low) * scale
    margin = 24

    def place(p: np.ndarray) -> np.ndarray:
        return (p - low) * scale + margin

    box = f"0 0 {width + 2 * margin:.0f} {height + 2 * margin + 22:.0f}"
    parts = [f'<svg viewBox="{box}" role="img" aria-label="cameras from {html.escape(side)}" class="map">']
    for (x, y), color in zip(place(dots), colors, strict=True):
        if -margin <= x - margin <= width + margin and 0 <= y <= height + 2 * margin:
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="1.6" fill="#{color}"/>')
    placed = place(centers)
    for i in evenly_spaced(range(len(placed)), MAX_CAMERAS):
        heading = page_from_world @ world_from_cam[i, :3, 2]
        kind = "camera held-out" if i in held_out else "camera"
        half_fov = math.atan(float(cameras.width[i]) / (2 * float(cameras.K[i, 0, 0])))
        parts.append(_wedge(placed[i], heading, half_fov, kind, names[i]))
    parts.append(_scale_bar(scale, margin, height + 2 * margin + 8, points is not None and points.metric))
    return "".join(parts) + "</svg>"


def _dots(points: PointCloud | None, page_from_world: np.ndarray) -> tuple[np.ndarray, list[str]]:
    if points is None or len(points) == 0:
        return np.zeros((0, 2)), []
    keep = np.linspace(0, len(points) - 1, min(len(points), MAX_DOTS)).astype(int)
    xyz, rgb = points.xyz.double().numpy()[keep], points.rgb.numpy()[keep]
    finite = np.isfinite(xyz).all(1)
    return xyz[finite] @ page_from_world.T, [bytes(c).hex() for c in rgb[finite]]


def _frame(centers: np.ndarray, dots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (low, high) [2] that hold all cameras and the points except far stragglers."""
    low, high = centers.min(0), centers.max(0)
    if len(dots):
        inner = np.quantile(dots, [0.03, 0.97], axis=0)
        low, high = np.minimum(low, inner[0]), np.maximum(high, inner[1])
    pad = 0.05 * max(float((high - low).max()), 1e-9)
    return low - pad, high + pad


def _wedge(center: np.ndarray, heading: np.ndarray, half_fov_rad: float, kind: str, name: str) -> str:
    angle = math.atan2(heading[1], heading[0])
    length = 22 * max(float(np.linalg.norm(heading)), 0.3)
    corners = [center]
    for side in (-half_fov_rad, half_fov_rad):
        corners.append(center + length * np.array([math.cos(angle + side), math.sin(angle + side)]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'<polygon class="{kind}" points="{path}"><title>{html.escape(name)}</title></polygon>'


def _scale_bar(scale: float, x: float, y: float, metric: bool) -> str:
    length = round_ticks(0, 120 / scale, 1)[1]
    if length * scale > 260:
        length /= 2
    unit = "m" if metric else ("unit" if length == 1 else "units")
    end = x + length * scale
    return (
        f'<line class="bar" x1="{x}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{end + 6:.1f}" y="{y + 4:.1f}">{length:g} {unit}</text>'
    )
