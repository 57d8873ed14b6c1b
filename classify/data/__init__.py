"""From samples to batches: folds, augmentation and oversampling, the training set, batches.

Samples (crop + labels + fold) -> NetworkData, made in pipeline/training -> TrainingSet -> batches of (images, targets).
Open `training_set.py` first.
"""
