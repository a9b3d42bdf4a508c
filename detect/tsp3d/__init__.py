"""TSP3D: one box for a sentence in an indoor scan (W. Guo et al., "Text-guided Sparse Voxel Pruning", CVPR 2025)."""
