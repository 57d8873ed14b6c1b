"""The training loop, one network's trainer, its optimiser and its checkpoints.

NetworkData + Plan -> trained weights and metrics per epoch. Open `loop.py` first; a step of training is in `trainer.py`
and the learning rate in `optimisation.py`.
"""
