"""`ReconstructConfig`: everything that decides a reconstruction, and its place in a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ...scene.errors import BadInputError
from ...scene.readers.frame_times import checked_rate
from ...scene.readers.photo_folders import find_photographs
from ...scene.run import Run
from ..evidence.evidence_kinds import MONOCULAR_DEPTH, STATIC_MESH
from ..methods.method_contract import Method
from ..methods.registry import accepting, method
from ..methods.setting_text import parse_settings

MAX_SIDE_CPU_PX, MAX_SIDE_CUDA_PX = 640, 1600
GIVEN = {"depth_prior": MONOCULAR_DEPTH, "mesh": STATIC_MESH}  # options that name a file with evidence of a kind


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """Everything that decides a reconstruction. None stands for the suggestion of the method and the device."""

    # The method, one of those that `fewview methods` lists; auto is the one that suits the photographs best.
    method: str = "auto"
    # Choose by measurement: with --method auto each method that suits 4 to 8 photographs is fitted without one of them,
    # small and with few steps, and has to show it; the report holds the table. Takes about half as long again.
    compare_methods: bool = False
    # Settings of the method, as `fewview methods NAME` lists them, e.g. --set sh_degree=2 antialiased=true.
    set: tuple[str, ...] = ()
    # Train on this many of the photographs that are not held out.
    views: int | None = None
    # Which ones: evenly spaced in file-name order, or those that together show most, sharp and from different places.
    choose: Literal["evenly", "useful"] = "evenly"
    # Hold out every 8th photograph in file-name order, or the split of the data set, and measure on it.
    eval: bool = False
    # Hold out, and measure on, camera:NAME (all that this one of several cameras took), or moments:N (every N-th moment
    # of a film, of all its cameras); instead of --eval.
    hold_out: str | None = None
    # Longer side of the photographs in training, in pixels; auto is 640 on a CPU and 1600 on a GPU.
    resolution: int | None = None
    # Training steps, one photograph each; auto is 1000 for instantsplat, else 1500 on a CPU and 7000 on a GPU.
    steps: int | None = None
    # The splat has at most this many Gaussians; auto depends on how many pixels the photographs have.
    max_gaussians: int | None = None
    # Degree of the spherical harmonics that hold view-dependent colour, 0 to 3.
    sh_degree: int | None = None
    # How Gaussians are added in training; instantsplat adds none, so that choosing a way of adding chooses 3dgs.
    densify: Literal["auto", "mcmc", "default", "none"] = "auto"
    # Improve the training cameras together with the Gaussians; auto does so where instantsplat had to estimate them.
    refine_poses: Literal["auto", "on", "off"] = "auto"
    # Focal length of the photographs, in pixels at their own size, where it is known exactly and they have no cameras.
    focal_px: float | None = None
    # Weights of a pointmap network (DUSt3R or MASt3R checkpoint, or a Depth Anything 3 folder) that places the
    # photographs and gives their depth; auto is Fewview's own stereo.
    stereo: Path | None = None
    # Monocular depth for the methods that use it: the word network for Fewview's own depth prior, a folder of maps
    # (NAME.npy or NAME.png), a Depth Anything V2 folder, or weights of scripts/train_priors/depth.py; auto is what
    # stereo and sparse points know, filled along the colours.
    # With it --method auto measures methods with and without it on training photographs that they were fitted without.
    depth_prior: Path | None = None
    # A mesh of the object at the first moment, in the frame of the cameras, for a method that moves one (dreammesh4d);
    # without it that method makes one from the outlines.
    mesh: Path | None = None
    # Folder of a Stable Zero123 pipeline in diffusers' layout, which says what sides that no photograph shows may look
    # like, for a method that asks it (dreammesh4d).
    view_prior: Path | None = None
    # Improve estimated cameras of photographs of one object with masks or transparency by making the object from them,
    # and look around it for photographs that could not be placed; takes minutes.
    synthesis: bool = False
    # ADen network that proposes cameras for photographs of one object that could not be placed, for --synthesis to look
    # at; and places all of them where structure from motion is sure of fewer than three and does not place all. The
    # word aden for the weights that come with Fewview, or a file of scripts/train_priors/aden.py.
    pose_network: Path | None = None
    # The photographs are frames of a film whose camera stands: all have one camera, and none is searched for.
    standing_camera: bool = False
    # Leave out photographs whose estimated camera is less likely right than this, 0 to 1.
    min_confidence: float = 0.0
    # The photographs are frames of a film, so many a second, in the order of their names: a scene that moves.
    fps: float | None = None
    # Folder of the photographs, for a COLMAP model that lies elsewhere.
    images: Path | None = None
    # Refuse photographs with more pixels than this, in millions.
    max_megapixels: float = 100.0
    # Accept data sets that name files outside their own folder.
    allow_outside: bool = False
    # Where to compute.
    device: str = "cpu"
    # Random seed.
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("views", "resolution", "steps", "max_gaussians"):
            value, least = getattr(self, name), 16 if name == "resolution" else 1
            if value is not None and value < least:
                option = name.replace("_", "-")
                raise BadInputError(f"--{option} {value} cannot be used: at least {least} is needed.")
        if self.method != "auto":
            chosen = method(self.method)  # raises for a name that there is not, before anything takes long
            parse_settings(chosen, self.set)
            refuse_unused(self, chosen)
        elif self.set:
            accepting(lambda candidate: parse_settings(candidate, self.set))
        if self.compare_methods and self.method != "auto":
            raise BadInputError(
                f"--compare-methods chooses the method, and --method {self.method} names one: leave either out."
            )
        if self.choose != "evenly" and self.views is None:
            raise BadInputError(f"--choose {self.choose} needs --views: how many photographs to choose.")
        if self.standing_camera and (self.stereo is not None or self.synthesis or self.pose_network is not None):
            raise BadInputError(
                "--standing-camera gives all frames one camera, and --stereo, --synthesis and --pose-network look for "
                "several: leave either out."
            )
        if self.stereo is not None and self.method == "3dgs":
            raise BadInputError("--stereo gives depth that --method 3dgs cannot start from: leave one of them out.")
        if self.densify not in ("auto", "none") and self.method == "instantsplat":
            raise BadInputError(
                f"--densify {self.densify} cannot be used: instantsplat keeps the number of its Gaussians."
            )
        if self.sh_degree is not None and not 0 <= self.sh_degree <= 3:
            raise BadInputError(f"--sh-degree {self.sh_degree} cannot be used: 0, 1, 2 or 3 is expected.")
        if self.focal_px is not None and not 0 < self.focal_px < float("inf"):
            raise BadInputError(f"--focal-px {self.focal_px} cannot be used: pixels, more than 0, are expected.")
        if self.eval and self.hold_out is not None:
            raise BadInputError("--eval and --hold-out both say what is held out: leave one of them out.")
        checked_rate(self.fps)
        if not 0 <= self.min_confidence <= 1:
            raise BadInputError(f"--min-confidence {self.min_confidence} cannot be used: 0 to 1 is expected.")
        if not self.max_megapixels > 0:
            raise BadInputError(f"--max-megapixels {self.max_megapixels} cannot be used: more than 0 is expected.")

    @property
    def measures(self) -> bool:
        """True where photographs are held out and measured on."""
        return self.eval or self.hold_out is not None

    @property
    def max_side_px(self) -> int:
        return self.resolution or (MAX_SIDE_CPU_PX if self.device == "cpu" else MAX_SIDE_CUDA_PX)


def options_as_json(config: ReconstructConfig) -> dict[str, Any]:
    """The config as JSON values."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def input_digest(source: Path) -> str:
    """A digest of the names and sizes of the photographs at an input, which tells it from others of the same name."""
    files = (source,) if source.is_file() else find_photographs(source).files if source.is_dir() else ()
    listed = "\n".join(sorted(f"{file.name} {file.stat().st_size}" for file in files))
    return hashlib.blake2b(listed.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def refuse_unused(config: ReconstructConfig, chosen: Method) -> None:
    """Raises BadInputError where evidence was given that a method has no use for."""
    for option, kind in GIVEN.items():
        if getattr(config, option) is not None and kind not in (*chosen.needs, *chosen.takes):
            raise BadInputError(
                f"--{option.replace('_', '-')} gives {kind.replace('_', ' ')}, which the method {chosen.name} does not "
                "use: leave it out, or choose a method that does with --method."
            )
    if config.view_prior is not None and not chosen.asks_view_prior:
        raise BadInputError(
            f"--view-prior says what sides look like that no photograph shows, which the method {chosen.name} does not "
            "ask: leave it out, or choose a method that does with --method."
        )


def continued(run: Run, source: Path | str, config: ReconstructConfig) -> ReconstructConfig:
    """The config of the run, after a check that nothing else is asked for now; options left out are the run's."""
    stored = run.config()
    old, new, default = stored.get("options"), options_as_json(config), options_as_json(ReconstructConfig())
    if not isinstance(old, dict):
        raise BadInputError(f"{run.config_path} has no options; {run.path} cannot be continued.")
    if Path(str(stored.get("input"))).name != Path(source).name:
        raise BadInputError(f"{run.path} was begun with the input {stored.get('input')}, not {source}.")
    if stored.get("input_digest") not in (None, input_digest(Path(source))) and Path(source).exists():
        raise BadInputError(
            f"{run.path} was begun with other files than {source} holds now; choose another folder with -o for them."
        )
    for name in default.keys() - {"device"}:
        if new[name] != default[name] and new[name] != old.get(name, default[name]):
            option = name.replace("_", "-")
            raise BadInputError(
                f"{run.path} was begun with --{option} {old.get(name)}, not {new[name]}; leave the option out to "
                "continue that run, or choose another folder with -o."
            )
    known = {f.name for f in fields(ReconstructConfig)}
    values = {k: v for k, v in old.items() if k in known} | {"device": config.device}
    try:
        paths = ("images", "stereo", "pose_network", "view_prior", *GIVEN)
        values |= {name: Path(values[name]) for name in paths if values.get(name)}
        values["set"] = tuple(values.get("set", ()))
        return ReconstructConfig(**values)
    except TypeError as error:
        raise BadInputError(f"{run.config_path} holds options that cannot be used: {error}.") from error
