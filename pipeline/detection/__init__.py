"""From photos to crops in the cache, on this machine, a share of it, or a Ray cluster.

photos -> Detection: where each photo's crop is, and what was found. Open `detect.py` first.
"""
