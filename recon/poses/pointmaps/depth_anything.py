"""Depth Anything 3 (2511.10647): depth and cameras of all photographs at once, by the package `depth-anything-3`.

Only the package's network is used. Its API module pins NumPy 1 and an old MoviePy and loads weights from the network,
none of which is needed to run it.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ....learn.foreign_weights import check_weights, fill_network, read_weights
from ....scene.cameras import Cameras
from ....scene.errors import BadInputError, FewviewError
from ...evidence.depth_maps import MAX_CONFIDENCE, DepthMap, Stereo

MODELS = ("da3-small", "da3-base", "da3-large", "da3-giant", "da3nested-giant-large")  # those that give cameras
LONG_SIDE = 504  # pixels; the size at which the network is run by its authors
PATCH_SIZE = 14  # pixels
ASPECT_TOLERANCE = 0.01  # of width / height, so that sizes which were rounded apart still pass
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in training
_MAX_CONFIG = 1 << 20  # bytes


class DepthAnything3:
    """A network of the package with its weights."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @staticmethod
    def load(
        path: Path,  # the folder with model.safetensors and config.json, or that file
        device: torch.device | str = "cpu",
    ) -> DepthAnything3:
        """Read weights that are already here.

        Raises BadInputError when they are not, are not whole or belong to another network, and FewviewError when the
        package is not installed.
        """
        if not path.exists():
            raise BadInputError(
                f"There are no weights at {path}, and Fewview downloads none: get model.safetensors and config.json of "
                "a Depth Anything 3 model, for example depth-anything/DA3-LARGE, and give their folder."
            )
        weights = path / "model.safetensors" if path.is_dir() else path
        model = _model_name(weights.with_name("config.json"))
        state, _ = read_weights(weights)
        network = _build(model)
        prefix = "model." if all(name.startswith("model.") for name in state) else ""
        state = check_weights(
            {name.removeprefix(prefix): tensor for name, tensor in state.items()},
            network,
            weights,
            f"a {model} network",
        )
        fill_network(network, state, device)
        return DepthAnything3(network)

    @torch.no_grad()
    def predict(
        self,
        images: Sequence[Tensor],  # of [H, W, 3] uint8, all of one shape
    ) -> Stereo:
        """Cameras, depths and confidences at the network's size, at most 504 pixels a side.

        The whole photograph is covered, so pixels there are pixels here times the ratio of the sizes. Depth and
        positions share one scale, which is metric only for the nested model.
        Raises BadInputError for photographs of different shapes, FewviewError for a result that is not finite.
        """
        width, height = _working_size(images)
        batch = torch.stack([_to_input(image, width, height) for image in images])[None]
        device = next(self.network.parameters()).device
        with _quiet():
            output = self.network(batch.to(device))
        depth, confidence, w2c, K = (
            output[name][0].float().cpu() for name in ("depth", "depth_conf", "extrinsics", "intrinsics")
        )
        if not all(bool(torch.isfinite(x).all()) for x in (depth, confidence, w2c, K)) or bool((depth <= 0).any()):
            raise FewviewError(
                "Depth Anything 3 gave depths or cameras that are not finite, positive numbers; its weights are not "
                "those of a trained network. Get the released files again."
            )
        count = len(images)
        cam_from_world = torch.eye(4).repeat(count, 1, 1)
        cam_from_world[:, :3] = w2c[:, :3]
        size = torch.ones(count, dtype=torch.int64)
        maps = (DepthMap(d, c.clamp(1, MAX_CONFIDENCE)) for d, c in zip(depth, confidence, strict=True))
        return Stereo(Cameras(cam_from_world, K, size * width, size * height), tuple(maps))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The package prints what it does, warns of what it calls and draws random numbers; none is seen outside."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


def _build(model: str) -> nn.Module:
    """The package's network for a model of its own registry, with random weights."""
    try:
        with _quiet():
            from depth_anything_3.cfg import create_object, load_config
            from depth_anything_3.registry import MODEL_REGISTRY

            return create_object(load_config(MODEL_REGISTRY[model]))
    except ImportError as error:
        raise FewviewError(
            f"Depth Anything 3 needs packages that are not installed ({error}): pip install --no-deps "
            "depth-anything-3, then pip install omegaconf addict einops (and evo for the giant models)."
        ) from error


def _model_name(config: Path) -> str:
    """Name of the model in a folder, the one word of its config.json that is read; the rest could name any code."""
    try:
        with config.open("rb") as file:
            content = json.loads(file.read(_MAX_CONFIG))
        model = content["model_name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(
            f"{config} cannot be read, or does not name its model ({error}); it is published beside the weights, get "
            "it from there."
        ) from error
    if model not in MODELS:
        raise BadInputError(f"{config} names the model {str(model)[:40]!r}; expected one of {', '.join(MODELS)}.")
    return model


def _working_size(images: Sequence[Tensor]) -> tuple[int, int]:
    """Width and height for all images: the longer side 504, the other rounded to whole patches."""
    ratios = [image.shape[1] / image.shape[0] for image in images]
    if max(ratios) / min(ratios) > 1 + ASPECT_TOLERANCE:
        raise BadInputError(
            f"The photographs have different shapes (width / height {min(ratios):.3f} to {max(ratios):.3f}); Depth "
            "Anything 3 is given photographs of one camera held one way. Crop them alike, or leave the others out."
        )
    height, width = images[0].shape[:2]
    scale = LONG_SIDE / max(height, width)
    width, height = (max(1, round(n * scale / PATCH_SIZE)) * PATCH_SIZE for n in (width, height))
    return width, height


def _to_input(image: Tensor, width: int, height: int) -> Tensor:
    """[3, H, W], normalised."""
    picture = Image.fromarray(image.cpu().numpy())
    smooth = Image.Resampling.BOX if image.shape[1] > width else Image.Resampling.BICUBIC
    values = torch.from_numpy(np.array(picture.resize((width, height), smooth))) / 255.0
    return ((values - torch.tensor(_MEAN)) / torch.tensor(_STD)).movedim(-1, 0)
