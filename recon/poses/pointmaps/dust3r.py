"""DUSt3R and MASt3R: pointmaps of photographs in pairs, from the released weights, which people get for themselves.

The weights are for non-commercial use (CC BY-NC-SA 4.0); nothing here downloads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....learn.foreign_weights import check_weights, fill_network, read_weights
from ....scene.errors import FewviewError
from ....scene.progress import Progress, silent
from .dust3r_network import HEAD_SIZE, DptSizes, Dust3rNetwork, NetworkSizes, points_and_confidence
from .pair_prediction import PairPrediction, PreparedImage

KIND = "a DUSt3R or MASt3R network"
DEFAULT_SIDE = 512  # pixels; what every released network but one was trained at
SQUARE_SIDE = 224  # that one saw only squares


class Dust3r:
    """A pointmap network with its weights."""

    def __init__(self, network: Dust3rNetwork, side: int = DEFAULT_SIDE) -> None:
        self.network = network
        self.side = side  # pixels: the longer side, and both of the network that saw only squares

    @staticmethod
    def load(path: Path, device: torch.device | str = "cpu") -> Dust3r:
        """Read a released checkpoint (.pth, or the same tensors as .safetensors); the shapes tell which it is.

        Raises BadInputError when the file is not whole, not safe, not of this family or not finite.
        """
        state, arguments = read_weights(path)
        with torch.device("meta"):
            network = Dust3rNetwork(sizes_of(state))
        state = check_weights(state, network, path, KIND)
        for head in (network.downstream_head1, network.downstream_head2):
            if hasattr(head, "head_local_features"):  # a fifth of MASt3R's weights, and never read here
                del head.head_local_features
        fill_network(network, {name: state[name] for name in network.state_dict()}, device)
        square = re.search(rf"img_size=\({SQUARE_SIDE}, *{SQUARE_SIDE}\)", arguments)
        return Dust3r(network, SQUARE_SIDE if square else DEFAULT_SIDE)

    def prepare(self, image: Tensor) -> PreparedImage:
        """Resize a uint8 [H, W, 3] photograph to the network's size and crop its middle to whole patches.

        The longer side becomes `side`, and squares are cropped to 4:3, since the networks never saw squares in
        training; the network that saw nothing else gets the middle square.
        """
        height, width = image.shape[:2]
        square = self.side == SQUARE_SIDE
        scale = self.side / (min(height, width) if square else max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        patch = self.network.sizes.patch_size
        kept_width, kept_height = (max(patch, n // patch * patch) for n in size)
        if square:
            kept_width = kept_height = self.side
        elif kept_width == kept_height:
            kept_height = max(patch, kept_width * 3 // 4 // patch * patch)
        size = (max(size[0], kept_width), max(size[1], kept_height))  # a strip is never thinner than a patch
        left, top = (size[0] - kept_width) // 2, (size[1] - kept_height) // 2
        picture = Image.fromarray(image.cpu().numpy())
        smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
        resized = picture.resize(size, smooth).crop((left, top, left + kept_width, top + kept_height))
        x, y = size[0] / width, size[1] / height
        prepared_from_image = torch.tensor([[x, 0, -left], [0, y, -top], [0, 0, 1]], dtype=torch.float64)
        return PreparedImage(torch.from_numpy(np.array(resized)), prepared_from_image, width, height)

    def predict(
        self,
        image_i: Tensor,  # [H, W, 3] uint8, sides multiples of the patch size
        image_j: Tensor,
    ) -> PairPrediction:
        """Both photographs' points in the first one's camera frame, and how far to trust them."""
        return self._decode(self._encode(image_i), self._encode(image_j))

    def predict_pairs(
        self,
        images: Sequence[Tensor],  # of [H, W, 3] uint8
        progress: Progress = silent,
    ) -> dict[tuple[int, int], PairPrediction]:
        """`predict` of every ordered pair of different views; each photograph is encoded once."""
        tokens = []
        for done, image in enumerate(images):
            progress("Looking at photographs", done, len(images))
            tokens.append(self._encode(image))
        progress("Looking at photographs", len(images), len(images))
        pairs = list(permutations(range(len(images)), 2))
        found = {}
        for done, (i, j) in enumerate(pairs):
            progress("Comparing pairs", done, len(pairs))
            found[i, j] = self._decode(tokens[i], tokens[j])
        progress("Comparing pairs", len(pairs), len(pairs))
        return found

    @torch.no_grad()
    def _encode(self, image: Tensor) -> Tensor:
        patch = self.network.sizes.patch_size
        height, width = image.shape[:2]
        if (
            image.dtype != torch.uint8
            or image.shape[2:] != (3,)
            or height % patch
            or width % patch
            or not image.numel()
        ):
            raise ValueError(
                f"expected a uint8 image [H, W, 3] with sides that are multiples of {patch}, "
                f"found {image.dtype} {tuple(image.shape)}; prepare() makes one"
            )
        device = self.network.mask_token.device
        return self.network.encode(image.to(device).movedim(-1, 0)[None] / 127.5 - 1)

    @torch.no_grad()
    def _decode(self, tokens_i: Tensor, tokens_j: Tensor) -> PairPrediction:
        outputs = self.network.decode(tokens_i, tokens_j)
        (points_i, confidence_i), (points_j, confidence_j) = (
            tuple(x[0].cpu() for x in points_and_confidence(output)) for output in outputs
        )
        if not all(bool(torch.isfinite(x).all()) for x in (points_i, points_j, confidence_i, confidence_j)):
            raise FewviewError(
                "The pointmap network gave points or confidences that are not finite numbers; its weights are not "
                "those of a trained network. Get the released file again."
            )
        return PairPrediction(points_i, points_j, confidence_i, confidence_j)


def sizes_of(state: Mapping[str, Tensor]) -> NetworkSizes:
    """The network that a checkpoint's shapes describe; the released one where they describe none."""
    try:
        encoder_width, _, patch_size, _ = state["patch_embed.proj.weight"].shape
        decoder_width = state["decoder_embed.weight"].shape[0]
        depths = _depth(state, "enc_blocks."), _depth(state, "dec_blocks.")
        dpt = None if "downstream_head1.proj.weight" in state else _dpt_sizes(state)
    except (KeyError, ValueError, IndexError):
        return NetworkSizes()
    widths = [*dpt.layer_widths, dpt.fusion_width, dpt.last_width] if dpt else []
    whole_heads = not encoder_width % HEAD_SIZE and not decoder_width % HEAD_SIZE
    if not whole_heads or min(encoder_width, decoder_width, patch_size, *depths, *widths) < 2:
        return NetworkSizes()
    return NetworkSizes(patch_size, encoder_width, depths[0], decoder_width, depths[1], dpt)


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.split(".")[1] for name in state if name.startswith(prefix)})


def _dpt_sizes(state: Mapping[str, Tensor]) -> DptSizes:
    head = "downstream_head1."
    first, second, third, fourth = (state[f"{head}dpt.act_postprocess.{k}.0.weight"].shape[0] for k in range(4))
    descriptors = f"{head}head_local_features.fc2.weight"
    outputs_and_hidden = tuple(state[descriptors].shape) if descriptors in state else None
    return DptSizes(
        (first, second, third, fourth),
        state[f"{head}dpt.scratch.refinenet1.out_conv.weight"].shape[0],
        state[f"{head}dpt.head.2.weight"].shape[0],
        (outputs_and_hidden[1], outputs_and_hidden[0]) if outputs_and_hidden else None,
    )
