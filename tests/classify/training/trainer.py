"""What test_distributed_training.py starts with torchrun: trains each configuration, is killed in the last.

python -m torch.distributed.run ... -m tests.classify.training.trainer FOLDER
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from classify.distributed import ranks_from_environment
from classify.models.losses import soft_f1_loss
from classify.training.loop import ComputeSetup, train_network
from classify.training.trainer import Trainer
from tests.classify.conftest import TASK, make_halves, plan, task_config

# Plain SGD: Adam's steps are the same for gradients that are too large by a factor. Seven rows do not divide evenly.
CONFIGURATIONS = {
    "f1": {"loss": "f1", "cutmix": 0.5, "batch": 7, "optimiser": "sgd", "lr": 0.01},
    "averaged": {"ema": 0.9, "clip_norm": 0.5},
    "pairs": {"consistency": 1.0, "optimiser": "sgd", "lr": 0.01},
    "frozen": {"freeze": True, "lr": 0.05},
    "norms": {"optimiser": "sgd", "lr": 0.05},
    "killed": {"loss": "focal", "lr": 0.001},
}
KILLED_AFTER = 2


def train_configuration(name, folder, ranks, on_epoch_end):
    """Without dropout, which each process draws for itself."""
    backbone = "test_resnet" if name == "norms" else "test_convnext"
    config = task_config(backbone, dropout=0, size=(64, 48), **CONFIGURATIONS[name])
    compute = ComputeSetup("cpu", ranks=ranks)
    data = make_halves()
    data = replace(data, pixels=data.pixels.repeat(2, axis=1).repeat(2, axis=2))  # test_convnext's smallest
    task = replace(TASK, name=name)
    return train_network(plan(config, task), data, folder / name, seed=0, compute=compute, on_epoch_end=on_epoch_end)


def gradients(ranks):
    """The gradient of the soft F1 of five rows, by parameter, however the rows are divided among processes."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    rows, shares = torch.randn(5, 6), torch.randn(5, 3).softmax(1)
    parallel = ranks.data_parallel(network)  # its hooks live as long as it does
    logits = ranks.all_gather(parallel(rows[ranks.rank_slice]), len(rows))
    (soft_f1_loss(logits, shares) * ranks.world_size).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def main(folder):
    ranks = ranks_from_environment()
    validate = Trainer.validate

    def keep_and_validate(trainer):
        weights = {key: value.contiguous() for key, value in trainer.kept_network.state_dict().items()}
        save_file(weights, folder / f"{trainer._plan.name}-{ranks.rank}.safetensors")
        return validate(trainer)

    Trainer.validate = keep_and_validate
    with ranks.process_group("cpu"):
        save_file(gradients(ranks), folder / f"gradients-{ranks.rank}.safetensors")
        for name in CONFIGURATIONS:
            train_configuration(name, folder, ranks, reporter(name, ranks))


def reporter(name, ranks):
    def report(history):
        if not ranks.is_main:
            raise AssertionError("only rank 0 reports")
        if name == "killed" and len(history) == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)

    return report


if __name__ == "__main__":
    main(Path(sys.argv[1]))
