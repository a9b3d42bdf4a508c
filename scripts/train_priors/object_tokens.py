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


def encode_sequences(pictures: Path, output: Path, encoder: ImageEncoder, side_px: int, grid: int) -> TokenSet:
    """The tokens of all sequences in a folder; those of an earlier call are taken from the output folder."""
    files = sorted(pictures.glob("*.safetensors"))
    first = safetensors.numpy.load_file(files[0])["pictures"]
    shape = (len(files), len(first), grid * grid, encoder.channels)
    output.mkdir(parents=True, exist_ok=True)
    side_file = output / "cameras.safetensors"
    if side_file.exists():
        tokens = np.load(output / "tokens.npy", mmap_mode="r+")
        known = safetensors.numpy.load_file(side_file)
        if tokens.shape == shape:
            return TokenSet(torch.from_numpy(tokens), *(torch.from_numpy(known[k]) for k in ("descriptors", "cameras")))
    tokens = np.lib.format.open_memmap(output / "tokens.npy", "w+", np.float16, shape)
    descriptors, cameras = np.zeros((*shape[:2], 3), np.float32), np.zeros((*shape[:2], 4, 4), np.float32)
    for number, file in enumerate(files):
        rng = np.random.default_rng([3, number])
        sequence = safetensors.numpy.load_file(file)
        crops, boxes = zip(*(training_crop(p, side_px, rng) for p in sequence["pictures"]), strict=True)
        tokens[number] = encoder(normalised(np.stack(crops)), grid).half().numpy()
        descriptors[number], cameras[number] = torch.stack(boxes).numpy(), sequence["cam_from_world"]
        if number % 20 == 19:
            print(f"encoded {number + 1} of {len(files)} sequences", flush=True)
    write_bytes(side_file, safetensors.numpy.save({"descriptors": descriptors, "cameras": cameras}))
    return TokenSet(torch.from_numpy(tokens), torch.from_numpy(descriptors), torch.from_numpy(cameras))
