"""LiDAR points and images to boxes."""
