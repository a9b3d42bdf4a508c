"""Reading what a run's JSON files say, which may be missing or odd, for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.files import read_json
from ...scene.run import Run


def mapping(parent: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The object below `keys`, empty where there is none."""
    value: Any = parent
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def figures(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    """(PSNR, SSIM, LPIPS) as text, a dash where there is none."""
    forms = (("psnr", ".2f"), ("ssim", ".3f"), ("lpips", ".3f"))
    psnr, ssim, lpips = (format(entry[k], f) if is_number(entry.get(k)) else "-" for k, f in forms)
    return psnr, ssim, lpips


def ranked_views(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The measured views from the worst PSNR to the best; those without one come last."""
    found = mapping(metrics, "eval").get("views")
    views = [v for v in found if isinstance(v, dict)] if isinstance(found, list) else []
    return sorted(views, key=lambda v: v["psnr"] if is_number(v.get("psnr")) else math.inf)


def is_held_out(view: Mapping[str, Any]) -> bool:
    return view.get("split") == "test"


def background(metrics: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """The colour that the splat was trained over."""
    color = mapping(metrics, "training").get("background")
    if isinstance(color, list) and len(color) == 3 and all(map(is_number, color)):
        return float(color[0]), float(color[1]), float(color[2])
    return None


def placed_count(metrics: Mapping[str, Any], capture: Capture | None) -> int | None:
    if capture is not None:
        return len(capture)
    placed = metrics.get("placed")
    return len(placed) if isinstance(placed, list) else placed if isinstance(placed, int) else None


def moves_from_to(run: Run) -> tuple[float, float] | None:
    """First and last moment in seconds of a splat that moves, as its description says them."""
    if not run.motion_description_path.is_file():
        return None
    try:
        found = read_json(run.motion_description_path)
    except BadInputError:
        return None
    moments = found.get("time_range_s") if isinstance(found, dict) else None
    if not isinstance(moments, list) or len(moments) != 2 or not all(map(is_number, moments)):
        return None
    return float(moments[0]), float(moments[1])


def without_folders(value: Any) -> Any:
    """A recorded value with absolute paths in it cut to their last names: a report is sent to others."""
    if isinstance(value, str):
        is_absolute = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
        return PureWindowsPath(value).name or value if is_absolute else value
    if isinstance(value, Mapping):
        return {key: without_folders(each) for key, each in value.items()}
    return [without_folders(each) for each in value] if isinstance(value, list) else value
