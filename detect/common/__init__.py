"""Parts that several detectors share: overlaps of boxes, suppression, assignment, heatmaps."""
