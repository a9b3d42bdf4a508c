"""SparseFusion (Xie et al., "SparseFusion: Fusing Multi-Modal Sparse Representations", ICCV 2023), the whole network.

LiDAR and images go through branches of their own, each of which ends in a few hundred queries: candidates for objects.
On the way LiDAR depths go into the image features and image features into the LiDAR's heatmap; in the end all queries
attend to each other once.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .bev_backbone import BevBackbone, BevNeck
from .camera_branch import CameraBranch, ImageFeatures, ImageQueries, image_features
from .config import SparseFusionConfig
from .driving_batch import Batch
from .encoder import SparseEncoder
from .fusion import SparseFusion
from .geometric_transfer import GeometricTransfer, NoTransfer, sparse_depth
from .heads import Prediction
from .image_backbone import ImageTrunk
from .layers import initialise_head
from .lidar_branch import LidarBranch, LidarQueries, lidar_heatmap_head
from .semantic_transfer import SemanticTransfer
from .view_transform import ViewTransform
from .voxelize import Voxels, voxelize


@dataclass(frozen=True)
class Output:
    """Predictions of the stages; those of a modality that is left out are None."""

    lidar: Prediction | None
    image: Prediction | None
    view: Prediction | None
    fusion: Prediction | None
    lidar_queries: LidarQueries | None
    image_queries: ImageQueries | None
    bev_heatmap: Tensor | None  # [B, 10, H, W] logits
    image_heatmaps: list[Tensor] | None  # logits [B, V, 10, h, w] for each level

    @property
    def final(self) -> Prediction:
        """The last stage that there is."""
        for stage in (self.fusion, self.view, self.lidar):
            if stage is not None:
                return stage
        raise AssertionError("a model has one modality at least")


class SparseFusionModel(nn.Module):
    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        self.config = config
        heads: list[nn.Module] = []
        if config.use_lidar:
            self.encoder = SparseEncoder(config)
            self.bev_backbone = BevBackbone(self.encoder.out_channels, config)
            self.bev_neck = BevNeck(config)
            self.lidar_branch = LidarBranch(config)
            heads.append(self.lidar_branch)
            if config.transfers_semantics:
                self.semantic_transfer = SemanticTransfer(config)
                heads.append(self.semantic_transfer)
            else:
                self.lidar_heatmap = lidar_heatmap_head(config)
                heads.append(self.lidar_heatmap)
        if config.use_images:
            self.image_trunk = ImageTrunk(config)
            self.geometric_transfer = GeometricTransfer(config) if config.transfers_geometry else NoTransfer(config)
            self.camera_branch = CameraBranch(config)
            self.view_transform = ViewTransform(config)
            heads += [self.geometric_transfer, self.camera_branch, self.view_transform]
        if config.fuses:
            self.fusion = SparseFusion(config)
            heads.append(self.fusion)
        for head in heads:
            initialise_head(head)
        if config.use_images:
            nn.init.normal_(self.camera_branch.level_pos)
        if config.freezes_lidar:
            self._freeze_lidar()

    def lidar_parts(self) -> list[nn.Module]:
        """The parts of a LiDAR-only detector, from whose weights training of the whole model starts."""
        if not self.config.use_lidar:
            return []
        parts = [self.encoder, self.bev_backbone, self.bev_neck, self.lidar_branch]
        return parts if self.config.transfers_semantics else [*parts, self.lidar_heatmap]

    def _freeze_lidar(self) -> None:
        """No gradients. Batch norms normalise by the batch in training, but leave their stored statistics alone."""
        for part in self.lidar_parts():
            part.requires_grad_(False)
            for module in part.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.track_running_stats = False

    def voxelize(self, batch: Batch) -> Voxels:
        """Apart, so that it can be timed apart."""
        limit = self.config.max_voxels_train if self.training else self.config.max_voxels_test
        return voxelize(batch.points, self.config, limit)

    def forward(self, batch: Batch, voxels: Voxels | None = None) -> Output:
        c = self.config
        features = self._image_features(batch) if c.use_images else None
        lidar = image = view = fusion = None
        lidar_queries = image_queries = bev_heatmap = image_heatmaps = None
        if c.use_lidar:
            voxels = voxels or self.voxelize(batch)
            bev = self.bev_neck(self.bev_backbone(self.encoder(voxels, len(batch))))
            bev = self.lidar_branch.shared_conv(bev)
            if c.transfers_semantics:
                assert features is not None
                bev_heatmap = self.semantic_transfer(bev, voxels.low_m, voxels.high_m, features, batch.views)
            else:
                bev_heatmap = self.lidar_heatmap(bev)
            lidar_queries = self.lidar_branch.choose(bev, bev_heatmap)
            lidar_tokens, lidar = self.lidar_branch(bev, lidar_queries)
        if features is not None:
            image_heatmaps = self.camera_branch.heatmaps(features)
            image_queries = self.camera_branch.choose(features, image_heatmaps)
            tokens, image, positions = self.camera_branch(features, image_queries)
            image_tokens, view = self.view_transform(tokens, image_queries.views, positions, image.codes, batch.views)
        if lidar is not None and view is not None:
            fusion = self.fusion(lidar_tokens, lidar.codes[..., :2], image_tokens, view.codes[..., :2])
        return Output(lidar, image, view, fusion, lidar_queries, image_queries, bev_heatmap, image_heatmaps)

    def _image_features(self, batch: Batch) -> ImageFeatures:
        shape = batch.images.shape[:2]
        levels = self.image_trunk(batch.images.flatten(0, 1))
        depth = sparse_depth(batch.points, batch.views).flatten(0, 1) if self.config.transfers_geometry else None
        levels = self.camera_branch.with_levels(self.geometric_transfer(depth, levels))
        return image_features([x.unflatten(0, shape) for x in levels], batch.views)
