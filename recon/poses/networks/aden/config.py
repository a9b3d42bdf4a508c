"""Settings of an ADen network: what it is made of. They travel in the file of its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

TURN = 8  # a quaternion, and four numbers of its quality
Backbone = Literal["efficientnet-lite0", "resnet50"]


@dataclass(frozen=True)
class AdenConfig:
    """Sizes of the network.

    The defaults are those of our weights: a small backbone that keeps the layout of the picture, and photographs
    compared place by place, because that is what carries over to objects that training never saw. `AdenConfig.paper()`
    is the published design, one vector for each photograph.
    """

    backbone: Backbone = "efficientnet-lite0"
    side_px: int = 192  # of the square crop
    grid: int = 12  # tokens along each side of the crop
    trunk: int = 96  # numbers that are learned about each place, by which they are matched; 0: by the backbone's alone
    look: int = 12  # numbers that a token keeps of what it looks like
    hidden: int = 256  # width of what reads the matches
    dropout_percent: int = 10
    fused: int = 192  # width of a photograph's vector
    heads: int = 4
    fusion_layers: int = 1  # of attention between photographs
    hypotheses: int = 500  # M
    query_width: int = 64
    generator_width: int = 160
    scorer_width: int = 128
    attention: int = 2  # layers of attention between places, of a photograph and then of a pair, where there is a trunk

    @property
    def vector(self) -> int:
        """Width of a photograph's vector with the turn that its matches give."""
        return self.fused + (TURN if self.trunk else 0)

    @classmethod
    def paper(cls) -> AdenConfig:
        """The published design with the widths of RelPose++ (arXiv 2305.04926), where ADen's are not known."""
        return cls("resnet50", 224, 1, 0, 2048, 2096, 10, 2096, 8, 8, 500, 256, 512, 256, 0)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AdenConfig:
        """Settings read from a file. Raises ValueError for names, types or sizes that they cannot have."""
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise ValueError(f"expected the settings {sorted(names)}, found {sorted(values)}")
        config = cls(**values)
        sizes = {k: v for k, v in values.items() if k != "backbone"}
        if config.backbone not in ("efficientnet-lite0", "resnet50"):
            raise ValueError(f"expected the backbone efficientnet-lite0 or resnet50, found {config.backbone!r}")
        least = {"trunk": 0, "attention": 0}
        wrong = [k for k, v in sizes.items() if type(v) is not int or not least.get(k, 1) <= v <= 8192]
        if wrong or config.dropout_percent > 90 or config.fused % config.heads or config.trunk % 4:
            raise ValueError(
                f"expected sizes up to 8192, a dropout up to 90, and a width that the heads divide: {values}"
            )
        return config
