"""What this machine will compute with, why, and what would make it faster.

In: the device and workers of a command. Out: Machine, in words.
"""

import os
import shutil
from dataclasses import dataclass

from pipeline.commands.doctor_extras import Extra
from pipeline.context import RunContext, available_cpus


@dataclass(frozen=True, slots=True)
class Machine:
    """What a command computes with.

    Attributes:
        device: as torch names it.
        was_chosen: whether the user named the device.
        devices: all that torch sees.
        detection: the runtime of MTCNN's networks, or the name of another detector that the settings choose.
        networks: the runtime of the networks that predict.
        has_driver: whether the machine has an NVIDIA GPU, even one that torch can't use.
        cores, usable_cores: of the machine, and those that this process may use.
        workers: threads.
        thread_limit: OMP_NUM_THREADS; 0 if it is not set.
        instructions: the widest that torch uses on this CPU, such as "AVX2".
        has_bf16: whether the networks that predict could be computed in bfloat16 on this CPU.
    """

    device: str
    was_chosen: bool
    devices: tuple[str, ...]
    detection: str
    networks: str
    has_driver: bool
    cores: int
    usable_cores: int
    workers: int
    thread_limit: int
    instructions: str
    has_bf16: bool

    @property
    def has_gpu(self) -> bool:
        """Whether torch sees a GPU."""
        return len(self.devices) > 1

    def why_device(self) -> str:
        """Why it is this device."""
        if self.was_chosen:
            return "as --device says"
        return "torch sees a GPU" if self.has_gpu else "torch sees no GPU"

    def why_runtime(self, runtime: str) -> str:
        """Why it is this runtime, or detector."""
        if runtime == "openvino":
            return "it is installed, and the fastest on a CPU"
        if runtime != "torch":
            return "as detect.detector says"
        return "OpenVINO is not installed" if self.device == "cpu" else "it is the runtime for a GPU"

    def advice(self, extras: list[Extra]) -> list[str]:
        """Sentences on what would make it faster; none if nothing is known that would."""
        sentences: list[str] = []
        if self.device == "cpu" and self.has_gpu:
            sentences.append("There is a GPU: leave out --device cpu to use it.")
        if self.has_driver and not self.has_gpu:
            sentences.append(
                "This machine has an NVIDIA GPU that torch can't use: install a build of torch for its CUDA version, "
                "as https://pytorch.org/get-started shows."
            )
        for extra in extras:
            if extra.name == "fast" and self.device == "cpu" and "torch" in (self.detection, self.networks):
                sentences.append(f"{extra.command}: detection and networks then run in OpenVINO.")
        if self.has_bf16:
            sentences.append(
                "This processor has bfloat16: --set predict.precision=bf16 makes predictions faster, at nearly the "
                "same probabilities."
            )
        if self.usable_cores < self.cores:
            sentences.append(
                f"This process may use {self.usable_cores} of {self.cores} cores; taskset, a container or the limit of "
                "a job decides that."
            )
        if self.workers < self.usable_cores:
            sentences.append(f"--workers {self.workers} leaves cores idle; there are {self.usable_cores}.")
        if self.device == "cpu" and 0 < self.thread_limit < self.usable_cores:
            sentences.append(f"OMP_NUM_THREADS={self.thread_limit} keeps torch from using all cores; unset it.")
        return sentences


def describe_machine(context: RunContext) -> Machine:
    """Find out what commands on this machine compute with.

    Raises:
        UsageError: this machine does not have the device that the user named.
    """
    import torch

    from classify.inference import runtime
    from detect import networks

    device, detector = context.torch_device(), context.settings.detect.detector
    gpus = [f"cuda:{number} {torch.cuda.get_device_name(number)}" for number in range(torch.cuda.device_count())]
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(
        device=device,
        was_chosen=context.device != "auto",
        devices=("cpu", *gpus),
        detection=networks.runtime_on(torch.device(device)) if detector == "mtcnn" else detector,
        networks=runtime.runtime_on(device),
        has_driver=shutil.which("nvidia-smi") is not None,
        cores=os.cpu_count() or 1,
        usable_cores=available_cpus(),
        workers=context.workers,
        thread_limit=int(limit) if limit.isdecimal() else 0,
        instructions=torch.backends.cpu.get_cpu_capability(),
        has_bf16=device == "cpu" and runtime.precision_on(device, "bf16") == "bf16",
    )
