"""Splits: the scenes of a data set to train on, and those to measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...scene.datasets.nuscenes_log import NuScenes
from ...scene.errors import BadInputError
from ...scene.files import read_json
from ...scene.readers.safe_paths import listed

# Numbers of the official validation scenes; all other scenes of v1.0-trainval are for training. Source: the devkit.
VAL_SCENES = (
    3, 12, 13, 14, 15, 16, 17, 18, 35, 36, 38, 39, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106,
    107, 108, 109, 110, 221, 268, 269, 270, 271, 272, 273, 274, 275, 276, 277, 278, 329, 330, 331, 332, 344, 345, 346,
    519, 520, 521, 522, 523, 524, 552, 553, 554, 555, 556, 557, 558, 559, 560, 561, 562, 563, 564, 565, 625, 626, 627,
    629, 630, 632, 633, 634, 635, 636, 637, 638, 770, 771, 775, 777, 778, 780, 781, 782, 783, 784, 794, 795, 796, 797,
    798, 799, 800, 802, 904, 905, 906, 907, 908, 909, 910, 911, 912, 913, 914, 915, 916, 917, 919, 920, 921, 922, 923,
    924, 925, 926, 927, 928, 929, 930, 931, 962, 963, 966, 967, 968, 969, 971, 972, 1059, 1060, 1061, 1062, 1063, 1064,
    1065, 1066, 1067, 1068, 1069, 1070, 1071, 1072, 1073,
)  # fmt: skip
MINI_VAL_SCENES = (103, 916)
# Official split, the version that it is of, its scenes, and whether these are all others.
_OFFICIAL = {
    "train": ("v1.0-trainval", VAL_SCENES, True),
    "val": ("v1.0-trainval", VAL_SCENES, False),
    "mini_train": ("v1.0-mini", MINI_VAL_SCENES, True),
    "mini_val": ("v1.0-mini", MINI_VAL_SCENES, False),
    "test": ("v1.0-test", (), True),
}
CUSTOM = "splits.json"  # beside the tables: an object of lists of scene names, as the devkit reads it


def split_samples(data: NuScenes, split: str | Path | Sequence[str] = "all") -> list[int]:
    """The numbers of a split's samples, by scene and time.

    A split is "all", the name of one in the data set's own splits.json, one of the official names, a file with a
    scene's name in each line (or a JSON list of them), or the names themselves. Raises BadInputError.
    """
    scenes = [name.decode() for name in data.tables.sample_scene]
    wanted = set(scene_names(data, split))
    return [i for i, scene in enumerate(scenes) if scene in wanted]


def scene_names(data: NuScenes, split: str | Path | Sequence[str] = "all") -> list[str]:
    """The scenes of a split in the order of the data set, each of them there. Raises BadInputError."""
    present = list(dict.fromkeys(name.decode() for name in data.tables.sample_scene))
    if split == "all":
        return present
    names, what = _names(data, split, present)
    absent = sorted(set(names) - set(present))
    if absent:
        raise BadInputError(
            f"{what} has scenes that {data.folder} lacks: {listed(absent)}; it is for another version of the data set."
        )
    if not names:
        raise BadInputError(f"{what} has no scenes; at least one is expected.")
    wanted = set(names)
    return [name for name in present if name in wanted]


def is_official(data: NuScenes, split: str | Path | Sequence[str]) -> bool:
    """True where the devkit knows this split of this version by itself."""
    return isinstance(split, str) and split in _OFFICIAL and _OFFICIAL[split][0] == data.folder.name


def _names(data: NuScenes, split: str | Path | Sequence[str], present: list[str]) -> tuple[list[str], str]:
    """(scene names, what they come from)"""
    if not isinstance(split, (str, Path)):
        return list(split), "The list of scenes"
    word, own = str(split), data.folder / CUSTOM
    custom = read_json(own) if own.is_file() else {}
    if isinstance(custom, dict) and word in custom:
        return _list_of_names(custom[word], f"The split {word!r} of {own}"), f"The split {word!r} of {own}"
    if word in _OFFICIAL:
        version, numbers, others = _OFFICIAL[word]
        if data.folder.name != version:
            here = [name for name, row in _OFFICIAL.items() if row[0] == data.folder.name]
            splits = f"--split {' or '.join(here)}" if here else f"a split of {own}"
            raise BadInputError(
                f"The split {word!r} is one of {version}, but the data set is {data.folder}; give {splits}, a file "
                "with scene names, or 'all'."
            )
        listed_names = {f"scene-{number:04d}" for number in numbers}
        return [n for n in present if n not in listed_names] if others else sorted(listed_names), f"The split {word!r}"
    if Path(split).is_file():
        return _from_file(Path(split)), str(split)
    known = ["all", *sorted(custom), *_OFFICIAL] if isinstance(custom, dict) else ["all", *_OFFICIAL]
    raise BadInputError(f"There is no split {word!r}: {', '.join(known)}, or a file with scene names is expected.")


def _from_file(path: Path) -> list[str]:
    if path.suffix.lower() == ".json":
        return _list_of_names(read_json(path), str(path))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} could not be read as text with a scene's name in each line: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def _list_of_names(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadInputError(f"{what} should be a list of scene names.")
    return value
