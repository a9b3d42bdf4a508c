"""InstantSplat (Fan et al. 2024)."""
