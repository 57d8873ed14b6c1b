"""Two processes train as one: gloo on the CPU, started by torchrun as a user starts them."""

import json

import pytest
from safetensors.torch import load_file

from cache.errors import UsageError
from classify.distributed import SINGLE_PROCESS, Ranks, ranks_from_environment
from tests.classify.training.trainer import KILLED_AFTER, gradients, train_configuration
from tests.torchrun import start_two

TOLERANCE = 1e-5  # of losses, scores and weights: the sums come in another order, which makes 2e-7 here


def history_of(folder):
    lines = json.loads((folder / "last.json").read_text())["history"]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_close(actual, expected):
    """Two histories, or two sets of weights."""
    if isinstance(actual, list):
        assert len(actual) == len(expected)
        for a, b in zip(actual, expected, strict=True):
            assert a == pytest.approx(b, abs=TOLERANCE)
        return
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        assert (value.double() - expected[name].double()).abs().max() < TOLERANCE, name


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder that two processes trained in until the first was killed."""
    folder = tmp_path_factory.mktemp("two")
    torchrun = start_two("tests.classify.training.trainer", folder)
    _, stderr = torchrun.communicate(timeout=300)
    assert torchrun.returncode, "a killed process must not look like success"
    assert (folder / "killed" / "last.safetensors").is_file(), stderr[-3000:]
    return folder


def single(name, folder):
    histories = []
    network = train_configuration(name, folder, SINGLE_PROCESS, histories.append)
    return network.state_dict(), histories


def test_two_processes_have_the_gradients_of_one(two):
    expected = gradients(SINGLE_PROCESS)
    for rank in range(2):
        assert_close(load_file(two / f"gradients-{rank}.safetensors"), expected)


@pytest.mark.parametrize("name", ["f1", "averaged", "pairs", "frozen"])
def test_two_processes_end_with_the_metrics_and_weights_of_one(two, tmp_path, name):
    weights, _ = single(name, tmp_path)
    assert_close(history_of(two / name), history_of(tmp_path / name))
    assert_close(load_file(two / name / "best.safetensors"), weights)
    assert_close(load_file(two / name / "last.safetensors"), load_file(tmp_path / name / "last.safetensors"))


@pytest.mark.parametrize("name", ["averaged", "norms"])
def test_both_processes_validate_the_same_weights_and_statistics(two, name):
    first, second = (load_file(two / f"{name}-{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(value.equal(second[key]) for key, value in first.items())


def test_a_training_that_two_began_and_lost_is_finished_by_one(two, tmp_path):
    assert len(history_of(two / "killed")) == KILLED_AFTER
    weights, _ = single("killed", tmp_path)
    resumed, histories = single("killed", two)
    assert [len(history) for history in histories] == [KILLED_AFTER, KILLED_AFTER + 1]
    assert_close(history_of(two / "killed"), history_of(tmp_path / "killed"))
    assert_close(resumed, weights)


def test_only_torchruns_variables_make_several_processes():
    assert ranks_from_environment({}) == ranks_from_environment({"WORLD_SIZE": "1", "RANK": "0"}) == SINGLE_PROCESS
    environment = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert ranks_from_environment(environment) == Ranks(5, 8, 1, 4)
    with pytest.raises(UsageError, match=r"RANK=5.*LOCAL_RANK=None.*torchrun"):
        ranks_from_environment({"RANK": "5", "WORLD_SIZE": "8"})
