"""The views that a scene is trained on and measured with, at working size; many of them are streamed from disk."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.capture import Capture, fit_size
from ...scene.errors import BadInputError
from ...scene.geometry import Similarity
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from .photograph_stream import Decoded, PhotographStream

STREAM_FROM_BYTES = 2 << 30  # photographs that take more memory than this are decoded when they are drawn
STREAM_KEEPS = 0.5  # share of that which the ones that were drawn last may take
OPAQUE = 128  # alpha from which a pixel shows the scene


@dataclass(frozen=True)
class View:
    """One photograph at one size."""

    pixels: Tensor  # [H, W, 3] uint8 sRGB, or [H, W, 4] with straight alpha
    mask: Tensor | None  # [H, W] bool, True where the pixel counts
    K: Tensor  # [3, 3] pixels

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    def target(self, background: Tensor) -> Tensor:
        """float32 [H, W, 3] in [0, 1], what is transparent composited onto `background` [3]."""
        rgb = self.pixels[..., :3].to(torch.float32).mul_(1 / 255)
        if self.pixels.shape[-1] == 4:
            alpha = self.pixels[..., 3:].to(torch.float32).mul_(1 / 255)
            rgb = torch.addcmul(background.expand_as(rgb), alpha, rgb - background)
        return rgb

    def counts(self) -> Tensor | None:
        """bool [H, W] on the CPU, False where a mask excludes the pixel or it is transparent; None where all count."""
        counts = None if self.mask is None else self.mask.cpu()
        if self.pixels.shape[-1] == 4:
            opaque = self.pixels[..., 3].cpu() >= OPAQUE
            counts = opaque if counts is None else counts & opaque
        return counts

    def photograph(self, width: int, height: int) -> tuple[Tensor, Tensor]:
        """Colours [height, width, 3] uint8 at another size, and bool [height, width] which pixels count; on the CPU."""
        pixels, counts = self.pixels[..., :3].cpu(), self.counts()
        if counts is None:
            counts = torch.ones(pixels.shape[:2], dtype=torch.bool)
        if pixels.shape[:2] != (height, width):
            pixels = torch.from_numpy(cv2.resize(pixels.numpy(), (width, height), interpolation=cv2.INTER_AREA))
            share = cv2.resize(counts.numpy().astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
            counts = torch.from_numpy(share > 0.5)
        return pixels, counts

    def halved(self) -> View:
        """Half the size, each pixel the mean of those it covers; a pixel counts when all of those do."""
        width, height = max(1, self.width // 2), max(1, self.height // 2)
        K = self.K.clone()
        K[0] *= width / self.width
        K[1] *= height / self.height
        pixels = torch.from_numpy(_shrunk(self.pixels.cpu().numpy(), width, height)).to(self.pixels.device)
        mask = self.mask
        if mask is not None:
            share = cv2.resize(mask.cpu().numpy().astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
            mask = torch.from_numpy(share > 0.999).to(self.pixels.device)
        return View(pixels, mask, K)

    def to(self, device: torch.device | str) -> View:
        return View(self.pixels.to(device), None if self.mask is None else self.mask.to(device), self.K.to(device))


class StreamedView(View):
    """A photograph of a stream: its pixels are there only while they are asked for, whatever the device."""

    _stream: PhotographStream
    _index: int
    _size: tuple[int, int]
    _level: int

    def __init__(self, stream: PhotographStream, index: int, size: tuple[int, int], K: Tensor, level: int = 0) -> None:
        """`size` is (width, height) at the `level`, the number of times that the photograph is halved."""
        for name, value in {"_stream": stream, "_index": index, "_size": size, "K": K, "_level": level}.items():
            object.__setattr__(self, name, value)

    @property
    def width(self) -> int:
        return self._size[0]

    @property
    def height(self) -> int:
        return self._size[1]

    @property
    def pixels(self) -> Tensor:  # type: ignore[override]
        return self._decoded()[0].to(self.K.device)

    @property
    def mask(self) -> Tensor | None:  # type: ignore[override]
        mask = self._decoded()[1]
        return None if mask is None else mask.to(self.K.device)

    def to(self, device: torch.device | str) -> StreamedView:
        return StreamedView(self._stream, self._index, self._size, self.K.to(device), self._level)

    def halved(self) -> StreamedView:
        """Half the size; made when it is drawn, and kept like the photographs."""
        width, height = max(1, self.width // 2), max(1, self.height // 2)
        K = self.K.clone()
        K[0] *= width / self.width
        K[1] *= height / self.height
        return StreamedView(self._stream, self._index, (width, height), K, self._level + 1)

    def _decoded(self) -> Decoded:
        def made(level: int) -> Decoded:
            if level == 0:
                return self._stream.photograph(self._index)

            def halve() -> Decoded:
                half = View(*made(level - 1), torch.eye(3)).halved()
                return half.pixels, half.mask

            return self._stream.kept((self._index, level), halve)

        return made(self._level)


@dataclass(frozen=True)
class Dataset:
    """Views with cameras, which of them are trained on and which are held out, and the points to start from."""

    views: tuple[View, ...]
    cameras: Cameras  # [len(views)], at the sizes of the views
    names: tuple[str, ...]
    train: tuple[int, ...]
    test: tuple[int, ...] = ()
    points: PointCloud | None = None
    _halves: dict[tuple[int, int], View] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(self.views) == len(self.cameras) == len(self.names):
            raise ValueError(
                f"expected as many cameras and names as views, found {len(self.cameras)}, {len(self.names)} and "
                f"{len(self.views)}"
            )
        if not self.train:
            raise BadInputError("There is no photograph to train on; at least one that is not held out is expected.")

    @classmethod
    def from_capture(
        cls,
        capture: Capture,
        *,
        train: Sequence[int] | None = None,
        test: Sequence[int] = (),
        max_side: int | None = None,
        max_bytes: int = STREAM_FROM_BYTES,
        progress: Progress = silent,
    ) -> Dataset:
        """The photographs of a capture with cameras; `train` is all but `test` when not given.

        `max_side` bounds the longer side in pixels. Where they would take more than `max_bytes` in memory they are
        decoded whenever they are drawn. Raises BadInputError when cameras are missing.
        """
        if capture.cameras is None:
            raise BadInputError(f"{capture.source} has no cameras; estimate them first with `fewview poses`.")
        sizes = [
            (frame.width, frame.height) if max_side is None else fit_size(frame.width, frame.height, max_side)
            for frame in capture.frames
        ]
        cameras = capture.cameras.resized(*torch.tensor(sizes).reshape(-1, 2).unbind(1))
        load = functools.partial(_decoded, capture, sizes)
        if sum(width * height * 3 for width, height in sizes) > max_bytes:
            stream = PhotographStream(load, int(STREAM_KEEPS * max_bytes))
            views: list[View] = [StreamedView(stream, i, size, cameras.K[i]) for i, size in enumerate(sizes)]
        else:
            views = []
            for i in range(len(capture)):
                views.append(View(*load(i), cameras.K[i]))
                progress("loading photographs", i + 1, len(capture))
        held_out = set(test)
        chosen = tuple(i for i in range(len(views)) if i not in held_out) if train is None else tuple(train)
        return cls(tuple(views), cameras, tuple(capture.names), chosen, tuple(test), capture.points)

    def __len__(self) -> int:
        return len(self.views)

    def to(self, device: torch.device | str) -> Dataset:
        views = tuple(view.to(device) for view in self.views)
        points = None if self.points is None else self.points.to(device)
        return Dataset(views, self.cameras.to(device), self.names, self.train, self.test, points)

    def transformed(self, new_from_world: Similarity) -> Dataset:
        """The same views in another world frame, with the cameras and the points."""
        points = self.points
        if points is not None:
            move = Similarity(*(t.to(points.xyz.device, torch.float64) for t in vars(new_from_world).values()))
            points = replace(points, xyz=move(points.unrounded_xyz).to(points.xyz), exact=None)
        return replace(self, cameras=self.cameras.transformed(new_from_world), points=points)

    def time_s(self, index: int) -> float | None:
        """The moment of a view; None where no times are known."""
        return None if self.cameras.times_s is None else self._times[index]

    @functools.cached_property
    def _times(self) -> list[float]:
        """The moments of all views, read once: from a GPU each reading would wait."""
        return [] if self.cameras.times_s is None else self.cameras.times_s.tolist()

    def view(self, index: int, level: int = 0) -> View:
        """View `index` halved `level` times; kept once made. Views of under 32 pixels a side are not halved further."""
        if level == 0:
            return self.views[index]
        if (index, level) not in self._halves:
            finer = self.view(index, level - 1)
            self._halves[index, level] = finer.halved() if min(finer.width, finer.height) >= 32 else finer
        return self._halves[index, level]

    @property
    def scene_scale(self) -> float:
        """1.1 times the largest distance of a training camera from their mean, as in 3DGS; 1 for one camera."""
        return scene_scale(self.cameras[list(self.train)])

    def fingerprint(self) -> str:
        """A digest of everything that training sees."""
        digest = hashlib.blake2b(digest_size=16)
        tensors = [self.cameras.cam_from_world, self.cameras.K, torch.tensor(self.train)]
        for i in self.train:
            view = self.views[i]
            tensors += [torch.tensor(view.pixels.shape), view.pixels, *([] if view.mask is None else [view.mask])]
        if self.points is not None:
            tensors += [self.points.xyz, self.points.rgb]
        if self.cameras.times_s is not None:
            tensors.append(self.cameras.times_s)
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()


def _decoded(capture: Capture, sizes: Sequence[tuple[int, int]], index: int) -> Decoded:
    """Pixels and mask of a photograph at its working size."""
    frame, (width, height) = capture.frames[index], sizes[index]
    mask = None
    if frame.load_mask is not None:
        counts = cv2.resize(frame.load_mask().astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        mask = torch.from_numpy(counts.astype(bool))
    return capture.image(index, width, height), mask


def scene_scale(cameras: Cameras) -> float:
    """1.1 times the largest distance of the cameras [N] from their mean, as in 3DGS; 1 where they are in one place."""
    centers = cameras.centers.double()
    radius = float((centers - centers.mean(0)).norm(dim=-1).max()) * 1.1
    # The mean of equal places differs from them by rounding, which is not taken for a spread.
    return radius if radius > 1e-12 * float(centers.abs().max()) else 1.0


class ViewOrder:
    """The training views in random order, each once before any comes again."""

    def __init__(self, views: Sequence[int]) -> None:
        self._views = torch.tensor(list(views))
        self.waiting = torch.zeros(0, dtype=torch.int64)  # [<= len(views)] what is left of this round, next one last

    def next(self, generator: torch.Generator) -> int:
        if len(self.waiting) == 0:
            self.waiting = self._views[torch.randperm(len(self._views), generator=generator)]
        view = int(self.waiting[-1])
        self.waiting = self.waiting[:-1]
        return view


def _shrunk(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3 or 4] by area; colours weigh by their alpha, so that hidden ones do not bleed in."""
    if pixels.shape[-1] == 3:
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    values = pixels.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255
    small: np.ndarray = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    small[..., :3] *= 255 / np.maximum(small[..., 3:], 1e-3)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
