"""Rendered sequences as a frozen backbone sees them: composed, cropped and encoded once, kept in one file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import safetensors.numpy
import torch
from fewview.recon.poses.networks.aden.aden_training import TokenSet
from fewview.recon.poses.networks.aden.image_encoder import ImageEncoder
from fewview.recon.poses.networks.aden.object_crops import Box, box_of, central_box, crop, normalised, on_neutral
from fewview.scene.files import write_bytes
from object_paint import painted

PLAIN_SHARE = 0.6  # of pictures without background, which is what a mask gives
SHIFT, SCALE = 0.07, (1.1, 1.2)  # of the box (RelPose++)


def training_crop(picture: np.ndarray, side_px: int, rng: np.random.Generator) -> tuple[np.ndarray, torch.Tensor]:
    """A crop [side, side, 3] uint8 of an RGBA picture before a chance background, and its descriptor [3]."""
    side = picture.shape[0]
    coverage = picture[..., 3].astype(np.float32) / 255
    color = np.clip(picture[..., :3] * rng.uniform(0.75, 1.25) + rng.uniform(-12, 12), 0, 255)
    image = on_neutral(color, coverage)
    if rng.random() > PLAIN_SHARE:
        behind = cv2.resize(painted(rng), (side, side)).astype(np.float32)
        weight = coverage[..., None]
        image = np.rint(color * weight + behind * (1 - weight)).astype(np.uint8)
    tight = box_of(coverage, 1.0) or central_box(side, side)
    dx, dy = rng.uniform(-SHIFT, SHIFT, 2) * tight.side
    box = Box(tight.x + dx, tight.y + dy, tight.side * rng.uniform(*SCALE))
    return crop(image, box, side_px), box.descriptor(side, side)


def mirrored(sequence: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pictures, cameras and surface of a sequence in a mirror: x of the world and of every camera change sign."""
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(np.float32)
    return {
        "pictures": np.ascontiguousarray(sequence["pictures"][:, :, ::-1]),
        "surface": sequence["surface"][:, :, ::-1] * np.array([-1, 1, 1], np.float16),
        "cam_from_world": mirror @ sequence["cam_from_world"] @ mirror,
    }


def seen_surface(
    surface: np.ndarray,  # [places, places, 3] of the whole picture
    cam_from_world: np.ndarray,
    focal_px: float,
    side_px: int,
    descriptor: torch.Tensor,  # [3] of the crop
    grid: int,
) -> np.ndarray:
    """The surface points of a crop's places, [grid * grid, 6] float16; see `TokenSet`."""
    half, fine = side_px / 2, surface.shape[0]
    x, y, width = (float(v) for v in descriptor)
    line = (np.arange(grid) + 0.5) / grid * 2 - 1
    column = np.floor((x + line * width / 2 + 1) / 2 * fine).astype(int)
    row = np.floor((y + line * width / 2 + 1) / 2 * fine).astype(int)
    inside = ((row >= 0) & (row < fine))[:, None] & ((column >= 0) & (column < fine))[None]
    world = surface[row.clip(0, fine - 1)[:, None], column.clip(0, fine - 1)[None]].astype(np.float32)
    world[~inside] = np.nan
    in_camera = world @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    away = float(cam_from_world[2, 3])  # of the object's middle, the world's origin
    to_world = half / focal_px * away  # from half pictures
    middle = np.array([x * to_world, y * to_world, away])
    about = (in_camera - middle) / (width / 2 * to_world)
    return np.concatenate([world, about], -1).reshape(grid * grid, 6).astype(np.float16)


def encode_sequences(pictures: Path, output: Path, encoder: ImageEncoder, side_px: int, grid: int) -> TokenSet:
    """The tokens of all sequences in a folder, each followed by its mirror image, which is an object of its own.

    Those of an earlier call are taken from the output folder, also where there were fewer sequences then. The backbone
    computes in bfloat16: half of the time and more, for differences in its tokens (3 %) that are small beside those
    between backgrounds.
    """
    files = sorted(pictures.glob("*.safetensors"))
    first = safetensors.numpy.load_file(files[0])["pictures"]
    shape = (2 * len(files), len(first), grid * grid, encoder.channels)
    output.mkdir(parents=True, exist_ok=True)
    before = load_tokens(output) if (output / "cameras.safetensors").exists() else None
    if before is not None and len(before.tokens) != len(before.descriptors):
        before = None  # an encoding that was interrupted between its two files
    if before is not None and before.tokens.shape == shape:
        return before
    path = output / "tokens.npy"
    tokens = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", np.float16, shape)
    descriptors, cameras = np.zeros((*shape[:2], 3), np.float32), np.zeros((*shape[:2], 4, 4), np.float32)
    surface, done = np.zeros((*shape[:3], 6), np.float16), 0
    if before is not None and before.surface is not None and before.tokens.shape[1:] == shape[1:]:
        done = min(len(before.tokens), len(tokens))
        tokens[:done], descriptors[:done] = before.tokens[:done].numpy(), before.descriptors[:done].numpy()
        cameras[:done], surface[:done] = before.cam_from_world[:done].numpy(), before.surface[:done].numpy()
    encoder = encoder.to(memory_format=torch.channels_last)
    for number in range(done, len(tokens)):
        rng = np.random.default_rng([3, number])
        sequence = safetensors.numpy.load_file(files[number // 2])
        if number % 2:
            sequence |= mirrored(sequence)
        crops, boxes = zip(*(training_crop(p, side_px, rng) for p in sequence["pictures"]), strict=True)
        pixels = normalised(np.stack(crops)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            tokens[number] = encoder(pixels, grid).half().numpy()
        descriptors[number], cameras[number] = torch.stack(boxes).numpy(), sequence["cam_from_world"]
        focal_px, side = float(sequence["focal_px"][0]), sequence["pictures"].shape[1]
        for view, points in enumerate(sequence["surface"]):
            surface[number, view] = seen_surface(points, cameras[number, view], focal_px, side, boxes[view], grid)
        if number % 40 == 39:
            print(f"encoded {number + 1} of {len(tokens)} sequences", flush=True)
    known = {"descriptors": descriptors, "cameras": cameras, "surface": surface}
    tokens.flush()
    path.with_suffix(".part").replace(path)
    write_bytes(output / "cameras.safetensors", safetensors.numpy.save(known))
    return _token_set(tokens, known)


def load_tokens(folder: Path) -> TokenSet:
    """The tokens that `encode_sequences` has written."""
    tokens = np.load(folder / "tokens.npy", mmap_mode="r+")
    return _token_set(tokens, safetensors.numpy.load_file(folder / "cameras.safetensors"))


def _token_set(tokens: np.ndarray, known: dict[str, np.ndarray]) -> TokenSet:
    return TokenSet(
        torch.from_numpy(tokens), *(torch.from_numpy(known[k]) for k in ("descriptors", "cameras", "surface"))
    )
