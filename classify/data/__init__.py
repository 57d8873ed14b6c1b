"""From samples to batches: folds of people, augmentation per class, the training set, batches.

Sample (crop + labels + fold) -> NetworkData -> TrainingSet -> batches of (images, targets). Open
`training_set.py` first.
"""
