"""Small data sets of scripts/make_nuscenes_like.py."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

SCRIPTS = Path(__file__).parents[2] / "scripts"


def generator() -> tuple[ModuleType, ModuleType, ModuleType]:
    """The generator, its sensors and its world: scripts are no package, so their folder goes onto the path."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    import driving_sensors
    import driving_world
    import make_nuscenes_like

    return make_nuscenes_like, driving_sensors, driving_world


def generate(root: Path, **settings: int) -> Path:
    """Write a data set; two scenes of three samples, small pictures and few rays by default."""
    make = generator()[0]
    make.make(root, make.Settings(**{"scenes": 2, "samples": 3, "width": 160, "columns": 360, **settings}))
    return root
