"""Splats to meshes: depth from many cameras, one surface through all of it, cleaning, and colours."""
