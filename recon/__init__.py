"""Photographs to Gaussians: camera poses, the trainer, and one file or folder per method."""
