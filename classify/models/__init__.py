"""Networks: backbones, the heads on them, what their outputs mean, and the losses.

settings -> Plan -> network; labels -> targets; outputs and targets -> loss; outputs -> probabilities. Open
`network_plan.py` first. New losses go into `losses.py`, new heads into `heads.py`,
new backbones that are not timm's into `face_backbones.py`.
"""
