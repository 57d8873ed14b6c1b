"""Make the crops of photos: on this machine, in several independent processes, or on a Ray cluster.

photos -> Detection: each photo's crop in the cache, and counts. Open `detect.py` first.
"""
