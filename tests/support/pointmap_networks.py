"""Small pointmap networks of the released architecture with random weights, and files of them."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from fewview.recon.poses.pointmaps.dust3r_network import DptSizes, Dust3rNetwork, NetworkSizes

SMALL_DPT = DptSizes((8, 12, 16, 20), 16, 6)
DPT = NetworkSizes(16, 128, 2, 64, 4, SMALL_DPT)
LINEAR = NetworkSizes(16, 128, 2, 64, 4, None)
MAST3R = NetworkSizes(16, 128, 2, 64, 4, DptSizes((8, 12, 16, 20), 16, 6, (24, 50)))


def random_network(sizes: NetworkSizes = DPT, seed: int = 0) -> Dust3rNetwork:
    torch.manual_seed(seed)
    return Dust3rNetwork(sizes).eval().requires_grad_(False)


def save_released(path: Path, network: Dust3rNetwork, side: int = 512) -> Path:
    """A file laid out as the released ones: the weights, and the arguments of a training."""
    text = f"AsymmetricCroCo3DStereo(pos_embed='RoPE100', img_size=({side}, {side}), head_type='dpt')"
    torch.save({"model": network.state_dict(), "args": argparse.Namespace(model=text, lr=1e-4, epochs=3)}, path)
    return path


def random_photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """[height, width, 3] uint8"""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
