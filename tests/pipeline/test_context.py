import os

import pytest
import torch

from pipeline import context
from pipeline.context import RunContext, available_cpus
from pipeline.settings import load_settings


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("150000 100000", 2), ("900000 100000", 8), ("-1 100000", 8)]
)
@pytest.mark.usefixtures("eight_cores")
def test_a_container_has_as_many_cores_as_its_quota(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    for name, part in zip(("quota", "period"), quota.split(), strict=True):
        (tmp_path / name).write_text(f"{part}\n")
    for files in (f"{tmp_path}/cpu.max", f"{tmp_path}/quota {tmp_path}/period"):  # of cgroups version 2 and 1
        monkeypatch.setattr(context, "CPU_QUOTAS", (f"{tmp_path}/missing", files))
        assert available_cpus() == cores
        assert RunContext(load_settings(), tmp_path).workers == cores


@pytest.mark.usefixtures("eight_cores")
def test_a_process_has_the_cores_that_it_may_run_on_whatever_the_machine_has(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 96)
    monkeypatch.setattr(context, "CPU_QUOTAS", ())
    assert available_cpus() == 8


def test_the_gpu_that_is_named_becomes_the_current_one(monkeypatch, tmp_path):
    current = []
    monkeypatch.setattr(torch, "zeros", lambda *_, device: device)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    for device in ("cuda:1", "cuda", "cpu"):
        assert RunContext(load_settings(), tmp_path, device).torch_device() == device
    assert current == ["cuda:1"]
