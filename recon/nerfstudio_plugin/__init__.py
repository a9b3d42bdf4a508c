"""InstantSplat as a method of nerfstudio: `ns-train fewview-instantsplat`. Nothing else here imports nerfstudio.

nerfstudio finds `method.py` by the entry point in pyproject.toml; its 1.1.5 is what this is written for. Names and
signatures that nerfstudio calls are its own.
"""
