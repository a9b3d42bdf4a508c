"""nuScenes-format data for detectors: training samples, submissions, and the official metric."""
