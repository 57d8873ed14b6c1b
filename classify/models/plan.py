"""Which networks are trained: one per task, one that tells all, or one over the joint classes.

the tasks' settings + model.sharing -> Plans; each becomes one network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cache.errors import UsageError
from classify.config import HeadConfig, ModelConfig, TaskConfig, TrainConfig
from classify.models.heads import Heads, heads_of
from classify.tasks import Task

# What may differ between tasks whose network is the same: everything else is done once for all of them.
OF_EACH_HEAD: dict[str, set[str]] = {
    "model": set(),
    "train": {"loss", "gamma", "smoothing"},
    "augment": {"classes", "groups", "balance"},
}
# One network over the joint classes has one loss, too.
OF_EACH_CLASS = {**OF_EACH_HEAD, "train": set[str]()}


@dataclass(frozen=True)
class Plan:
    """One network.

    Attributes:
        name: of its folder in RUN and of its file in the bundle.
        tasks: what it tells.
        configs: of each task.
        joint: one output per joint class, not one head per task.
    """

    name: str
    tasks: tuple[Task, ...]
    configs: tuple[TaskConfig, ...]
    joint: bool = False

    @cached_property
    def heads(self) -> Heads:
        """What its outputs mean."""
        return heads_of(self.tasks, self.configs, joint=self.joint)

    @property
    def model(self) -> ModelConfig:
        """Its network."""
        return self.configs[0].model

    @property
    def train(self) -> TrainConfig:
        """How it learns."""
        return self.configs[0].train


def plan_networks(configs: Mapping[str, TaskConfig]) -> list[Plan]:
    """The networks that answer all tasks.

    Raises:
        UsageError: tasks that share a network have different settings for it, or a setting has no part in it.
    """
    every = tuple(configs.values())
    sharing = every[0].model.sharing
    tasks = tuple(config.task(name) for name, config in configs.items())
    for task, config in zip(tasks, every, strict=True):
        _refuse_unknown_half(task, config, tasks)
        if config.model.sharing != sharing:
            raise UsageError(
                f"tasks.{task.name}.model.sharing is {config.model.sharing}, and "
                f"tasks.{tasks[0].name}.model.sharing is {sharing}; set model.sharing for all tasks alike"
            )
    if sharing == "separate":
        return [Plan(task.name, (task,), (config,)) for task, config in zip(tasks, every, strict=True)]
    if sharing == "joint":
        _refuse_heads(tasks, every)
    for task, config in zip(tasks, every, strict=True):
        for section, of_each in (OF_EACH_CLASS if sharing == "joint" else OF_EACH_HEAD).items():
            own, first = (getattr(one, section).model_dump(exclude=of_each) for one in (config, every[0]))
            if differing := [key for key in own if own[key] != first[key]]:
                key = f"{section}.{differing[0]}"
                raise UsageError(
                    f"tasks.{task.name}.{key} is not what tasks.{tasks[0].name}.{key} is, and with "
                    f"model.sharing={sharing} one network tells both; set it for all tasks, or share no network"
                )
    return [Plan(sharing, tasks, every, joint=sharing == "joint")]


def _refuse_unknown_half(task: Task, config: TaskConfig, tasks: tuple[Task, ...]) -> None:
    name, known = config.train.cutmix_with, [name for one in tasks for name in one.classes]
    if name and name not in known:
        raise UsageError(f"tasks.{task.name}.train.cutmix_with is {name!r}, which is none of {', '.join(known)}")


def _refuse_heads(tasks: tuple[Task, ...], configs: tuple[TaskConfig, ...]) -> None:
    usual = HeadConfig()
    for task, config in zip(tasks, configs, strict=True):
        for key in HeadConfig.model_fields:
            if key != "weights" and getattr(config.head, key) != getattr(usual, key):
                raise UsageError(
                    f"tasks.{task.name}.head.{key} has no part in model.sharing=joint, whose one head is of the joint "
                    "classes; leave it out, or share otherwise"
                )
