"""`ScanNet`: a folder of scenes in ScanNet's files, with sentences of ScanRefer or ReferIt3D where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BadInputError
from ..readers.safe_paths import listed
from ..scan import Scan, Sentence
from .reference_sentences import Reference, sentence_kinds
from .referit3d import read_referit3d
from .scannet_classes import LABELS_FILE, class_of, read_label_table
from .scannet_scene import is_scannet_scene, mesh_path, read_scannet_scene
from .scanrefer import read_scanrefer

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ScanNet:
    """Scenes in ROOT/scans/NAME (or ROOT/NAME), read only when asked for; may be sent to other processes."""

    root: Path
    names: tuple[str, ...]
    references: dict[str, tuple[Reference, ...]]  # by scene
    nyu40: dict[str, int] | None  # ScanNet's words, where its table of labels is there
    photographs: bool = True

    @classmethod
    def open(
        cls, root: Path | str, split: str = "all", sentences: str | None = None, photographs: bool = True
    ) -> ScanNet:
        """The scenes of a `split` (train, val, test: the names in scannetv2_SPLIT.txt), or all.

        `sentences` names where sentences come from: scanrefer, nr3d or sr3d; none unless given.
        Raises BadInputError where there are no such scenes or files.
        """
        root = Path(root)
        names = _scenes(root)
        if split != "all":
            wanted, present = _names_of(root, split), set(names)
            names = [name for name in wanted if name in present]
            if not names:
                raise BadInputError(f"None of the {len(wanted)} scenes of the split {split!r} is in {root}.")
        references: dict[str, tuple[Reference, ...]] = {}
        if sentences is not None:
            for reference in _read_references(root, split, sentences):
                references[reference.scene] = (*references.get(reference.scene, ()), reference)
            names = [name for name in names if name in references]
            if not names:
                raise BadInputError(f"The sentences of {sentences} in {root} are about none of its scenes.")
        table = next((p for p in (root / LABELS_FILE, root / "meta_data" / LABELS_FILE) if p.is_file()), None)
        return cls(root, tuple(names), references, None if table is None else read_label_table(table), photographs)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Scan:
        """Raises BadInputError for damaged files, and for sentences about objects that the scene does not have."""
        return self.scan(self.names[index])

    def scan(self, name: str) -> Scan:
        """The scene of that name with its sentences; an object of which no point is there has none."""
        scan, rows = read_scannet_scene(_scenes_folder(self.root) / name, self.photographs)
        references = self.references.get(name, ())
        if not references:
            return scan
        absent = sorted({str(r.target_id) for r in references if r.target_id not in rows})
        if absent:
            raise BadInputError(
                f"Sentences about {name} name the objects {listed(absent)}, which its aggregation file does not have."
            )
        return replace(scan, sentences=tuple(self._sentence(reference, scan, rows) for reference in references))

    def _sentence(self, reference: Reference, scan: Scan, rows: dict[int, int]) -> Sentence:
        assert scan.objects is not None
        target = rows[reference.target_id]
        names = [scan.objects.name(i) for i in range(len(scan.objects))]
        classes = names if reference.by_name else [self.class_of(name) or "other" for name in names]
        return Sentence(
            reference.text,
            target,
            sentence_kinds(reference, target, classes),
            reference.token,
            reference.name or scan.objects.name(target),
            tuple(rows[i] for i in reference.anchor_ids if i in rows),
        )

    def class_of(self, name: str) -> str | None:
        """The benchmark class of one of ScanNet's words, None for others."""
        return class_of(name, self.nyu40)


def is_scannet(root: Path) -> bool:
    """True for a folder of scenes."""
    return root.is_dir() and any(is_scannet_scene(path) for path in _scenes_folder(root).iterdir())


def _scenes_folder(root: Path) -> Path:
    return root / "scans" if (root / "scans").is_dir() else root


def _scenes(root: Path) -> list[str]:
    """The names of all scenes, sorted; files are looked for, not opened."""
    if not root.is_dir():
        raise BadInputError(f"{root} is no folder; one with scenes of ScanNet in scans/ is expected.")
    found = sorted(path.name for path in _scenes_folder(root).iterdir() if is_scannet_scene(path))
    if not found:
        example = mesh_path(root / "scans" / "scene0000_00")
        raise BadInputError(f"{root} has no scene of ScanNet; files such as {example} are expected.")
    return found


def _names_of(root: Path, split: str) -> list[str]:
    if split not in SPLITS:
        raise BadInputError(f"The split {split!r} is unknown; expected all, {', '.join(SPLITS)}.")
    places = [root / f"scannetv2_{split}.txt", root / "meta_data" / f"scannetv2_{split}.txt"]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise BadInputError(f"{root} has no list of the scenes of {split}; {places[0]} is expected.")
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} could not be read: {error}.") from error


def _read_references(root: Path, split: str, sentences: str) -> Sequence[Reference]:
    if sentences == "scanrefer":
        folder = root / "ScanRefer"
        parts = (
            [p for p in SPLITS if (folder / f"ScanRefer_filtered_{p}.json").is_file()] if split == "all" else [split]
        )
        if not parts:
            raise BadInputError(f"{folder} has no ScanRefer_filtered_train.json or ScanRefer_filtered_val.json.")
        return [r for part in parts for r in read_scanrefer(folder / f"ScanRefer_filtered_{part}.json")]
    if sentences in ("nr3d", "sr3d"):
        return read_referit3d(root / "ReferIt3D" / f"{sentences}.csv")
    raise BadInputError(f"Sentences of {sentences!r} are unknown; expected scanrefer, nr3d or sr3d.")
