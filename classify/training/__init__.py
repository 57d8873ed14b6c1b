"""The training loop, the optimiser and the checkpoints.

NetworkData + Plan -> trained weights and a metrics line per epoch. Open `loop.py` first; the learning rate is set in
`optimisation.py`.
"""
