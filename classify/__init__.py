"""From crops and labels to trained classifiers, and from crops to probabilities.

samples (crop + labels + fold) -> batches -> logits per task -> probabilities per task -> joint class. The rooms in the
order of that way: evaluation, masks, models, data, inference, training. Open `training/loop.py` first: it is the
training loop, written out once. Nothing here knows where photos come from or how faces are found.
"""
