"""Metrics of benchmarks, their truth and the files that are submitted to them."""
