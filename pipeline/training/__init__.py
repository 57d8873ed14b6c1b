"""From labelled crops to trained networks and a bundle.

photos with crops -> Samples in folds -> NetworkData -> networks -> RUN/bundle. Open `train.py` first.
"""
