"""Settings of a method that the person asked for, by option or by --set."""

from __future__ import annotations

from typing import Any

from ..methods.method_contract import Method
from ..methods.setting_text import parse_settings
from .reconstruct_config import ReconstructConfig


def asked_settings(config: ReconstructConfig, chosen: Method) -> dict[str, Any]:
    """Values by field of the method's config; --set wins over the options.

    Raises BadInputError for a --set that the method does not have, or of another type.
    """
    asked: dict[str, Any] = {"seed": config.seed}
    for name in ("steps", "max_gaussians", "sh_degree"):
        if getattr(config, name) is not None:
            asked[name] = getattr(config, name)
    if config.densify != "auto":
        asked["densification"] = config.densify
    if config.refine_poses != "auto":
        asked["refine_poses"] = config.refine_poses == "on"
    return asked | parse_settings(chosen, config.set)
