"""Photographs to splats: the optimiser, evidence, camera poses, a folder for each method, and the pipeline."""
