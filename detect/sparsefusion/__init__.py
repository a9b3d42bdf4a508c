"""SparseFusion (Xie et al., ICCV 2023): boxes from LiDAR and six cameras by fusing two sparse sets of queries."""
