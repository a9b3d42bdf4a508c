"""Cameras and depth from networks that predict pointmaps, aligned globally."""
