"""Points and photographs to boxes: sparse convolution and the detectors built on it."""
