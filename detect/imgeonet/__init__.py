"""ImGeoNet (Tu et al., ICCV 2023): photographs of a room to boxes, through voxels that know where surfaces are."""
