"""Kinds of input that the viewer shows, a file each, and the loader that knows one from the other."""
