"""Networks: backbones, the heads on them, what their outputs mean, and the losses.

settings -> Plan -> network; labels -> targets; logits and targets -> loss; logits -> probabilities. Open `plan.py`
first; a new loss goes into `losses.py`, a new head into `heads.py`, a new backbone into `backbones.py`.
"""
