"""From labelled crops to trained networks.

In: photos with crops, and teachers if there are any. On the way: Samples in folds, then NetworkData for each network.
Out: RUN/bundle and the scores on held-out people. Open `train.py` first.
"""
