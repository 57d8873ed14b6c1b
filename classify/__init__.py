"""From crops and labels to trained classifiers, and from crops to probabilities.

In: samples (crop + labels + fold). Out: probabilities per task and the joint class, by way of batches and logits. The
packages, in the order of that way: evaluation, masks, models, data, inference, training. Open `training/loop.py` first:
it is the training loop, written out once. Nothing here knows where photos come from or how faces are found.
"""

import sys

# OpenVINO's converter would report each use to its makers, without asking, and take a second for it.
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
