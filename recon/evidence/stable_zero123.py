"""Stable Zero123 and Zero-1-to-3 (Liu et al. 2023) with weights that the person has, by `diffusers`, as a view prior.

The folder is that of a pipeline in diffusers' layout: `unet`, `vae`, `image_encoder` and the linear projection of the
view, each with its `config.json` and safetensors weights. Nothing is downloaded, and code that a folder may hold is not
run: networks are built from their configs by the packages, and filled with tensors that were checked against them.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ...learn.foreign_weights import State, check_weights, fill_network, read_weights
from ...scene.errors import BadInputError, FewviewError
from .score_distillation import ScoreDistillation

KIND = "a network of Stable Zero123"
VIEW_NUMBERS = 4  # of a `view_condition`
BETAS = (0.00085, 0.012, 1000)  # first, last, steps: square roots are evenly spaced, as the networks were trained
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LATENT_SCALE = 0.18215  # of noised latents where the config has none; those of the condition are as they are
_MAX_CONFIG = 1 << 20  # bytes
_PROJECTIONS = ("clip_camera_projection", "cc_projection")  # folders, by who converted the weights
_FILES = ("diffusion_pytorch_model", "model")  # stems of weights


class StableZero123:
    """The frozen networks: an encoder of pictures, one of meanings, and the denoiser that both condition."""

    def __init__(self, unet: Any, vae: Any, image_encoder: Any, projection: nn.Linear) -> None:
        self.unet, self.vae, self.image_encoder, self.projection = unet, vae, image_encoder, projection
        self.latent_scale = float(getattr(self.vae.config, "scaling_factor", None) or LATENT_SCALE)
        self.side = int(self.unet.config.sample_size) * 2 ** (len(self.vae.config.block_out_channels) - 1)
        self._known: dict[bytes, tuple[Tensor, Tensor]] = {}  # of photographs: what does not depend on the view

    @staticmethod
    def load(folder: Path, device: torch.device | str = "cpu") -> StableZero123:
        """Read a pipeline's folder.

        Raises BadInputError where it is another model's, damaged or unsafe, and FewviewError without the packages.
        """
        unet_config, vae_config, clip_config = checked_configs(folder)
        diffusers, transformers = _package("diffusers"), _package("transformers")
        unet = _network(folder / "unet", unet_config, diffusers.UNet2DConditionModel.from_config)
        vae = _network(folder / "vae", vae_config, diffusers.AutoencoderKL.from_config)
        del vae.decoder  # nothing is decoded

        def encoder(config: dict[str, Any]) -> nn.Module:
            made: nn.Module = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**config))
            return made

        clip = _network(folder / "image_encoder", clip_config, encoder)
        projection = _projection(folder, int(clip_config.get("projection_dim", 0)), unet_config)
        return StableZero123(unet.to(device), vae.to(device), clip.to(device), projection.to(device))

    def prior(self, center: Tensor, up: Tensor, seed: int = 0) -> ScoreDistillation:
        """The view prior of an object around a center [3], its axis `up` [3], in the world of the cameras."""
        first, last, steps = BETAS
        betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
        alphas = (1 - betas).cumprod(0).float()
        return ScoreDistillation(
            self.encode, self.condition, self.denoise, alphas, center, up, side=self.side, seed=seed
        )

    def encode(self, picture: Tensor) -> Tensor:
        """Latent [1, 4, s, s] of a picture [1, 3, S, S] in [-1, 1], differentiable: the mean of its distribution."""
        latent: Tensor = self.vae.encode(picture).latent_dist.mode()
        return self.latent_scale * latent

    @torch.no_grad()
    def condition(self, photograph: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """(token [1, 1, D], latent [1, 4, s, s]) of a photograph [H, W, 3] over white and a `view_condition` [4]."""
        key = hashlib.blake2b(photograph.detach().cpu().contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._seen(photograph)
        meaning, latent = self._known[key]
        token: Tensor = self.projection(torch.cat([meaning, view.to(meaning)[None]], dim=-1))
        return token[:, None], latent

    def _seen(self, photograph: Tensor) -> tuple[Tensor, Tensor]:
        picture = photograph.to(self.projection.weight).permute(2, 0, 1)[None]
        shown = int(self.image_encoder.config.image_size)
        small = interpolate(picture, (shown, shown), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (small.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
        meaning = self.image_encoder(pixel_values=(small - mean) / std).image_embeds
        square = interpolate(picture, (self.side, self.side), mode="bilinear", antialias=True)
        return meaning, self.vae.encode(2 * square - 1).latent_dist.mode()

    @torch.no_grad()
    def denoise(self, noisy: Tensor, step: int, condition: object) -> Tensor:
        """The noise in a latent [1, 4, s, s] at a diffusion step; without a condition both its parts are zeros."""
        if condition is None:
            token, latent = noisy.new_zeros(1, 1, self.projection.out_features), torch.zeros_like(noisy)
        else:
            assert isinstance(condition, tuple)
            token, latent = condition
        moment = torch.tensor([step], device=noisy.device)
        found: Tensor = self.unet(torch.cat([noisy, latent], dim=1), moment, encoder_hidden_states=token).sample
        return found


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FewviewError(
            f"A Stable Zero123 prior needs a package that is not installed ({error}): pip install 'fewview[diffusion]'."
        ) from error


def checked_configs(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Configs of the denoiser, the encoder of pictures and that of meanings in a pipeline's folder.

    Raises BadInputError where the folder is of another model or damaged.
    """
    if not folder.is_dir():
        raise BadInputError(
            f"{folder} is no folder: give that of a Stable Zero123 pipeline in diffusers' layout (unet, vae, "
            "image_encoder, clip_camera_projection)."
        )
    unet_config, vae_config, clip_config = (_config(folder / n) for n in ("unet", "vae", "image_encoder"))
    latents = vae_config.get("latent_channels")
    if unet_config.get("in_channels") != 8 or unet_config.get("out_channels") != 4 or latents != 4:
        raise BadInputError(
            f"{folder} is of another model: its unet takes {unet_config.get('in_channels')} channels, and 8 are "
            "expected, 4 of the noisy picture and 4 of the photograph that it is conditioned on."
        )
    return unet_config, vae_config, clip_config


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(
            f"{path} cannot be read ({error}); the folder of a Stable Zero123 pipeline for diffusers is expected."
        ) from error
    if not isinstance(content, dict):
        raise BadInputError(f"{path} holds no settings of a network; get the file again.")
    return content


def _network(folder: Path, config: dict[str, Any], make: Any) -> nn.Module:
    """The network of a config with the weights beside it."""
    state, path = _weights(folder)
    try:
        with torch.device("meta"):
            plan: nn.Module = make(config)
        state = check_weights(state, plan, path, KIND)  # its size is the file's, so it can be built
        with torch.random.fork_rng(devices=[]):
            network: nn.Module = make(config)
    except BadInputError:
        raise
    except Exception as error:  # the packages have no error of their own for a config that is not as it should be
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInputError(f"{folder / 'config.json'} describes no network of Stable Zero123 ({reason}).") from error
    fill_network(network, state, "cpu")
    return network


def _projection(folder: Path, meanings: int, unet_config: dict[str, Any]) -> nn.Linear:
    """The layer that takes a picture's meaning and a view to a token, whatever its conversion has called it."""
    found = next((folder / name for name in _PROJECTIONS if (folder / name).is_dir()), None)
    if found is None:
        raise BadInputError(
            f"{folder} has no {_PROJECTIONS[0]}: it is of another model, or a part of the pipeline is missing."
        )
    state, path = _weights(found)
    width = unet_config.get("cross_attention_dim")
    if not isinstance(width, int) or not 0 < width < 1 << 16 or not 0 < meanings < 1 << 16:
        raise BadInputError(f"{folder} is of another model: its token has a width of {str(width)[:40]}.")
    layer = nn.Linear(meanings + VIEW_NUMBERS, width)
    named = {name.rpartition(".")[2]: tensor for name, tensor in state.items()}
    fill_network(layer, check_weights(named if len(named) == len(state) else state, layer, path, KIND), "cpu")
    return layer


def _weights(folder: Path) -> tuple[State, Path]:
    kinds = [folder / f"{stem}{kind}.safetensors" for stem in _FILES for kind in ("", ".fp16")]
    path = next((path for path in kinds if path.is_file()), None)
    if path is None:
        pickled = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        why = f"{pickled[0]} is a Python pickle, which could run code and is not read" if pickled else "there are none"
        raise BadInputError(f"{folder} has no weights in one safetensors file ({why}): get {kinds[0].name}.")
    return read_weights(path)[0], path
