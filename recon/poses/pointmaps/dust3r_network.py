"""The networks that see two photographs and give a pointmap for each: DUSt3R (2312.14132) and MASt3R (2406.09756).

One encoder sees each photograph alone, two decoders look at each other's tokens, and two heads turn the tokens into
points, all in the first camera's frame, and confidences. The modules are named as in the released checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_SIZE = 64  # channels of one attention head; the same in every released encoder and decoder
ROPE_BASE = 100.0
NORM_EPS = 1e-6
OUTPUTS = 4  # a point's three raw coordinates and the confidence's logit


@dataclass(frozen=True)
class DptSizes:
    """Widths of the convolutional head."""

    layer_widths: tuple[int, int, int, int] = (96, 192, 384, 768)  # channels of the four levels, fine to coarse
    fusion_width: int = 256  # channels in which the levels are joined
    last_width: int = 128  # channels before the outputs
    descriptor_sizes: tuple[int, int] | None = None  # MASt3R's local features: hidden and output channels


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes in which the checkpoints differ; the defaults are the released 512 px network with the DPT head."""

    patch_size: int = 16  # pixels on a side
    encoder_width: int = 1024
    encoder_depth: int = 24  # blocks
    decoder_width: int = 768
    decoder_depth: int = 12  # blocks
    dpt: DptSizes | None = DptSizes()  # None: the linear head


def rope_angles(
    height: int,  # tokens
    width: int,
    head_size: int,
    device: torch.device | None = None,
) -> Tensor:
    """Angles [height * width, 2, head_size / 4] by which a token's channels turn: for its row, then for its column."""
    count = head_size // 4
    frequencies = ROPE_BASE ** (-torch.arange(count, dtype=torch.float32, device=device) / count)
    rows = torch.arange(height, device=device).repeat_interleave(width)
    columns = torch.arange(width, device=device).repeat(height)
    return torch.stack([rows, columns], dim=-1)[..., None] * frequencies


def rotate(
    tokens: Tensor,  # [B, heads, N, head_size]
    angles: Tensor,  # [N, 2, head_size / 4]
) -> Tensor:
    """Rotary position embedding in 2-D: half of the channels turn with the row, half with the column.

    Within a half, channel c of its first part and channel c of its second part are the two axes of one plane.
    """
    first, second = tokens.unflatten(-1, (2, 2, -1)).unbind(-2)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-2).flatten(-3)


def _heads(tokens: Tensor) -> Tensor:
    """[B, N, C] to [B, heads, N, head_size]."""
    return tokens.unflatten(-1, (-1, HEAD_SIZE)).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of [B, heads, N, head_size] tokens, joined to [B, N, C]."""
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, angles: Tensor) -> Tensor:
        query, key, value = (_heads(part) for part in self.qkv(tokens).chunk(3, dim=-1))
        return self.proj(_attend(rotate(query, angles), rotate(key, angles), value))


class CrossAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, angles: Tensor, other: Tensor, other_angles: Tensor) -> Tensor:
        query = rotate(_heads(self.projq(tokens)), angles)
        key = rotate(_heads(self.projk(other)), other_angles)
        return self.proj(_attend(query, key, _heads(self.projv(other))))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class EncoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, NORM_EPS)
        self.attn = SelfAttention(width)
        self.norm2 = nn.LayerNorm(width, NORM_EPS)
        self.mlp = Mlp(width, 4 * width, width)

    def forward(self, tokens: Tensor, angles: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), angles)
        return tokens + self.mlp(self.norm2(tokens))


class DecoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, NORM_EPS)
        self.attn = SelfAttention(width)
        self.cross_attn = CrossAttention(width)
        self.norm2 = nn.LayerNorm(width, NORM_EPS)
        self.norm3 = nn.LayerNorm(width, NORM_EPS)
        self.mlp = Mlp(width, 4 * width, width)
        self.norm_y = nn.LayerNorm(width, NORM_EPS)

    def forward(self, tokens: Tensor, angles: Tensor, other: Tensor, other_angles: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), angles)
        tokens = tokens + self.cross_attn(self.norm2(tokens), angles, self.norm_y(other), other_angles)
        return tokens + self.mlp(self.norm3(tokens))


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)


class LinearHead(nn.Module):
    """Every token gives the outputs of its own patch."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.patch_size = sizes.patch_size
        self.proj = nn.Linear(sizes.decoder_width, OUTPUTS * sizes.patch_size**2)

    def forward(
        self,
        layers: Sequence[Tensor],  # of [B, N, C], the encoder's and then each block's
        grid: tuple[int, int],  # tokens in height and width
    ) -> Tensor:
        patches = self.proj(layers[-1]).transpose(1, 2).unflatten(-1, grid)
        return F.pixel_shuffle(patches, self.patch_size)


class ResidualUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, levels: Tensor) -> Tensor:
        return levels + self.conv2(F.relu(self.conv1(F.relu(levels))))


def upsample(levels: Tensor) -> Tensor:
    """Twice the height and width, bilinear with the corner pixels' centres kept in the corners."""
    return F.interpolate(levels, scale_factor=2, mode="bilinear", align_corners=True)


class FusionBlock(nn.Module):
    """Adds a finer level to what came from the coarser ones, and doubles the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1 = ResidualUnit(width)
        self.resConfUnit2 = ResidualUnit(width)

    def forward(self, coarse: Tensor, fine: Tensor | None = None) -> Tensor:
        joined = coarse if fine is None else coarse + self.resConfUnit1(fine)
        return self.out_conv(upsample(self.resConfUnit2(joined)))


class Scratch(nn.Module):
    def __init__(self, dpt: DptSizes) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(w, dpt.fusion_width, 3, padding=1, bias=False) for w in dpt.layer_widths]
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = convolutions
        self.layer_rn = nn.ModuleList(convolutions)  # the released files list the same four weights under both names
        self.refinenet1 = FusionBlock(dpt.fusion_width)
        self.refinenet2 = FusionBlock(dpt.fusion_width)
        self.refinenet3 = FusionBlock(dpt.fusion_width)
        self.refinenet4 = FusionBlock(dpt.fusion_width)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        first, second, third, fourth = (conv(x) for conv, x in zip(self.layer_rn, levels, strict=True))
        path = self.refinenet4(fourth)[..., : third.shape[-2], : third.shape[-1]]  # one too many where a side is odd
        return self.refinenet1(self.refinenet2(self.refinenet3(path, third), second), first)


class Dpt(nn.Module):
    """The head of dense prediction transformers (2103.13413) on four of the layers: at 4, 2, 1 and 1/2 of the grid."""

    def __init__(self, sizes: NetworkSizes, dpt: DptSizes) -> None:
        super().__init__()
        depth = sizes.decoder_depth
        self.hooks = (0, depth * 2 // 4, depth * 3 // 4, depth)
        inputs = (sizes.encoder_width, *[sizes.decoder_width] * 3)
        first, second, third, fourth = dpt.layer_widths
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(inputs[0], first, 1), nn.ConvTranspose2d(first, first, 4, stride=4)),
                nn.Sequential(nn.Conv2d(inputs[1], second, 1), nn.ConvTranspose2d(second, second, 2, stride=2)),
                nn.Sequential(nn.Conv2d(inputs[2], third, 1)),
                nn.Sequential(nn.Conv2d(inputs[3], fourth, 1), nn.Conv2d(fourth, fourth, 3, stride=2, padding=1)),
            ]
        )
        self.scratch = Scratch(dpt)
        self.head = nn.Sequential(
            nn.Conv2d(dpt.fusion_width, dpt.fusion_width // 2, 3, padding=1),
            nn.UpsamplingBilinear2d(scale_factor=2),
            nn.Conv2d(dpt.fusion_width // 2, dpt.last_width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dpt.last_width, OUTPUTS, 1),
        )

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        maps = [layers[hook].transpose(1, 2).unflatten(-1, grid) for hook in self.hooks]
        return self.head(self.scratch([f(x) for f, x in zip(self.act_postprocess, maps, strict=True)]))


class DptHead(nn.Module):
    """The convolutional head; MASt3R's local features stand beside it in the file and are not computed."""

    def __init__(self, sizes: NetworkSizes, dpt: DptSizes) -> None:
        super().__init__()
        self.dpt = Dpt(sizes, dpt)
        if dpt.descriptor_sizes:
            self.head_local_features = Mlp(sizes.encoder_width + sizes.decoder_width, *dpt.descriptor_sizes)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        return self.dpt(layers, grid)


class Dust3rNetwork(nn.Module):
    """Photographs to tokens (`encode`), tokens of two photographs to points and confidences (`decode`)."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = PatchEmbed(sizes.patch_size, sizes.encoder_width)
        self.enc_blocks = nn.ModuleList([EncoderBlock(sizes.encoder_width) for _ in range(sizes.encoder_depth)])
        self.enc_norm = nn.LayerNorm(sizes.encoder_width, NORM_EPS)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, sizes.decoder_width))  # of the pre-training; never read
        self.decoder_embed = nn.Linear(sizes.encoder_width, sizes.decoder_width)
        self.dec_blocks = nn.ModuleList([DecoderBlock(sizes.decoder_width) for _ in range(sizes.decoder_depth)])
        self.dec_blocks2 = nn.ModuleList([DecoderBlock(sizes.decoder_width) for _ in range(sizes.decoder_depth)])
        self.dec_norm = nn.LayerNorm(sizes.decoder_width, NORM_EPS)
        self.downstream_head1, self.downstream_head2 = (
            DptHead(sizes, sizes.dpt) if sizes.dpt else LinearHead(sizes) for _ in range(2)
        )

    def encode(self, image: Tensor) -> Tensor:
        """Tokens [B, h, w, C] of photographs [B, 3, H, W] in [-1, 1]; both sides are multiples of the patch size.

        A portrait is seen upright, on its own grid. The released networks do the same: in training a portrait is
        carried transposed to fit into landscape batches, but is turned back before its patches are cut.
        """
        patches = self.patch_embed.proj(image)
        height, width = patches.shape[-2:]
        angles = rope_angles(height, width, HEAD_SIZE, image.device)
        tokens = patches.flatten(2).transpose(1, 2)
        for block in self.enc_blocks:
            tokens = block(tokens, angles)
        return self.enc_norm(tokens).unflatten(1, (height, width))

    def decode(
        self,
        tokens_i: Tensor,  # [B, h, w, C]
        tokens_j: Tensor,  # [B, h', w', C]
    ) -> tuple[Tensor, Tensor]:
        """Raw outputs [B, 4, H, W] and [B, 4, H', W'] of both photographs, in the frame of the first camera."""
        (grid_i, angles_i), (grid_j, angles_j) = _grid(tokens_i), _grid(tokens_j)
        layers_i, layers_j = [tokens_i.flatten(1, 2)], [tokens_j.flatten(1, 2)]
        left, right = self.decoder_embed(layers_i[0]), self.decoder_embed(layers_j[0])
        for block_i, block_j in zip(self.dec_blocks, self.dec_blocks2, strict=True):
            left, right = block_i(left, angles_i, right, angles_j), block_j(right, angles_j, left, angles_i)
            layers_i.append(left)
            layers_j.append(right)
        layers_i[-1], layers_j[-1] = self.dec_norm(left), self.dec_norm(right)
        return self.downstream_head1(layers_i, grid_i), self.downstream_head2(layers_j, grid_j)


def _grid(tokens: Tensor) -> tuple[tuple[int, int], Tensor]:
    height, width = tokens.shape[1:3]
    return (height, width), rope_angles(height, width, HEAD_SIZE, tokens.device)


def points_and_confidence(
    outputs: Tensor,  # [B, 4, H, W]
) -> tuple[Tensor, Tensor]:
    """Points [B, H, W, 3] and confidences [B, H, W], at least 1: v / |v| (exp |v| - 1), and 1 + exp of the logit."""
    raw, logit = outputs[:, :3].movedim(1, -1), outputs[:, 3]
    length = raw.norm(dim=-1, keepdim=True)
    return raw / length.clamp_min(1e-8) * length.expm1(), 1 + logit.exp()
