"""Reconstruction methods, a folder for each paper; `registry` lists them."""
