"""What outputs mean: targets, losses and probabilities of every kind of head, on small numbers."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cache.errors import UsageError
from classify.config import TaskConfig
from classify.models.heads import build_heads
from classify.models.network_plan import plan_networks
from classify.models.targets import find_open_end
from classify.tasks import Task

AGE = Task("age", ("<30", "30-59", ">=60"), (30, 60), 0, 120)
GENDER = Task("gender", ("male", "female"))
AGES = np.array([[20.0], [29.0], [30.0], [75.0], [math.nan]])
CODES = np.array([[0], [0], [1], [2], [-1]])
KINDS = [
    {},
    {"spread": 3.0},
    {"spread": 3.0, "top": 60},
    {"kind": "ordinal"},
    {"kind": "coral"},
    {"kind": "years", "spread": 2.5},
    {"kind": "years", "spread": 2.5, "bins_loss": 1.0, "number_loss": 1.0},
    {"kind": "years", "spread": 2.5, "top": 60},
]


def age_config(**head):
    return TaskConfig(classes=AGE.classes, edges=AGE.edges, head=head)


def age_heads(**head):
    return build_heads([AGE], [age_config(**head)])


@pytest.mark.parametrize("head", KINDS)
def test_every_head_learns_its_targets_and_gives_probabilities(head):
    heads = age_heads(**head)
    targets = torch.from_numpy(heads.encode(CODES, AGES))
    outputs = torch.zeros((5, heads.outputs), requires_grad=True)
    step = torch.optim.Adam([outputs], lr=0.3)
    for _ in range(400):
        step.zero_grad()
        heads.loss(outputs, targets).backward()
        step.step()
    [predicted] = heads.probabilities(outputs.detach())
    assert predicted.sum(1).numpy() == pytest.approx(1, abs=1e-5)
    assert predicted.min() >= 0
    assert predicted.argmax(1)[:4].tolist() == CODES[:4, 0].tolist()


@pytest.mark.parametrize("head", KINDS)
def test_rows_without_a_label_have_no_part_in_the_loss(head):
    heads = age_heads(**head)
    targets = torch.from_numpy(heads.encode(CODES, AGES))
    outputs = torch.randn((5, heads.outputs), generator=torch.manual_seed(0))
    other = outputs.clone()
    other[4] += 5
    assert heads.loss(outputs, targets).item() == pytest.approx(heads.loss(other, targets).item())
    assert targets[4].sum() == 0
    assert heads.loss(outputs[4:], targets[4:]).item() == 0, "a batch without any label"


def test_labels_next_to_a_border_are_shared_between_both_bins():
    rows = age_heads(spread=3.0).encode(CODES, AGES)
    assert rows[0, 0] > 0.99
    assert rows[1] == pytest.approx([0.5662, 0.4338, 0], abs=1e-3), "29 is half a year below 29.5"
    assert rows[:4].sum(axis=1) == pytest.approx(1)
    assert age_heads().encode(CODES, AGES)[1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("head", [{"spread": 0.01}, {"spread": 0.3}, {"kind": "years", "spread": 0.01}])
def test_numbers_that_are_not_whole_stay_on_their_side_of_a_border(head):
    numbers = np.array([[29.5], [29.9], [30.0], [59.7], [60.2]])
    codes = np.array([[0], [0], [1], [1], [2]])
    heads = age_heads(**head)
    targets = heads.encode(codes, numbers)
    assert targets.sum(axis=1) == pytest.approx(1)
    sums = np.add.reduceat(targets, [0, 30, 60], axis=1) if targets.shape[1] == 121 else targets
    assert sums.argmax(axis=1).tolist() == codes[:, 0].tolist()


def test_a_spread_over_bins_knows_units_smaller_than_one():
    share = Task("share", ("low", "high"), (0.3,), 0, 1)
    config = TaskConfig(classes=share.classes, edges=share.edges, range=(0, 1), head={"spread": 0.1})
    rows = build_heads([share], [config]).encode(np.array([[0], [1]]), np.array([[0.2], [0.4]]))
    assert rows[:, 0] == pytest.approx([0.8413, 0.1587], abs=1e-3), "one standard deviation below, one above"


def test_years_begin_at_the_ranges_low_end():
    task = Task("year", ("old", "new"), (2000,), 1990, 2010)
    config = TaskConfig(classes=task.classes, edges=task.edges, range=(1990, 2010), head={"kind": "years", "spread": 1})
    heads = build_heads([task], [config])
    rows = heads.encode(np.array([[0], [1]]), np.array([[1995.0], [2003.0]]))
    assert rows.argmax(axis=1).tolist() == [5, 13]
    [predicted] = heads.probabilities(torch.from_numpy(rows).log().clamp_min(-50))
    assert predicted.argmax(1).tolist() == [0, 1]


def test_years_are_normal_around_the_number_and_fill_the_bin_without_one():
    heads = age_heads(kind="years", spread=2.0)
    rows = heads.encode(np.array([[2], [0]]), np.array([[75.0], [math.nan]]))
    assert rows.shape == (2, 121)
    assert rows[0].argmax() == 75
    assert (rows[0] @ np.arange(121)).item() == pytest.approx(75, abs=0.01)
    assert rows[1, :30].tolist() == pytest.approx([1 / 30] * 30)
    assert rows[1, 30:].sum() == 0


def test_the_bins_of_the_years_add_up_at_the_edges():
    heads = age_heads(kind="years", spread=2.0)
    outputs = torch.full((3, 121), -50.0)
    for row, year in enumerate((29, 30, 60)):
        outputs[row, year] = 50.0
    [predicted] = heads.probabilities(outputs)
    assert predicted.argmax(1).tolist() == [0, 1, 2]


def test_numbers_from_the_top_on_are_one_output():
    heads = age_heads(kind="years", spread=2.0, top=60)
    open_ended = age_heads(kind="years", spread=2.0)
    codes, numbers = np.array([[2], [2], [1], [2]]), np.array([[60.0], [75.0], [59.0], [math.nan]])
    rows = heads.encode(codes, numbers)
    assert rows.shape == (4, 61)
    assert rows[[0, 1, 3], 60].tolist() == [1, 1, 1]
    beyond = open_ended.encode(codes, numbers)[2, 60:].sum()
    assert rows[2, 60] == pytest.approx(beyond), "the share of a 59-year-old that is beyond"
    assert rows[2].sum() == pytest.approx(1)


@pytest.mark.parametrize("head", [{"spread": 2.5, "top": 60}, {"kind": "years", "spread": 2.5, "top": 60}])
def test_an_open_end_is_certain_of_its_class(head):
    heads = age_heads(**head)
    codes, numbers = np.array([[2], [2], [1], [1]]), np.array([[60.0], [75.0], [59.0], [58.0]])
    targets = heads.encode(codes, numbers)
    classes = np.add.reduceat(targets, [0, 30, 60], axis=1) if targets.shape[1] == 61 else targets
    assert classes[:2].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert classes[:, 2].tolist() == sorted(classes[:, 2], reverse=True), "below the edge, labels are spread as before"
    assert 0.5 > classes[2, 2] > classes[3, 2] > 0.1
    without = age_heads(**{**head, "top": None}).encode(codes, numbers)
    before = np.add.reduceat(without, [0, 30, 60], axis=1) if without.shape[1] == 121 else without
    assert classes[2:] == pytest.approx(before[2:])
    assert before[0, 2] < 0.7, "without an open end, 60 is spread to both sides of the edge"


@pytest.mark.parametrize(
    ("numbers", "people", "top"),
    [
        ([20, 59, 60, 60], "abcd", 60),
        ([20, 60, 60], "abb", 60),  # at the edge, the photos of one person are enough
        ([20, 59, 60], "abc", None),  # a single photo
        ([20, 65, 65], "abc", 65),
        ([20, 65, 65], "abb", None),  # above it, a person's photos have one number anyway
        ([20, 60, 60, 61], "abcd", None),
        ([20, 45, 59, 59], "abcd", None),  # nobody in the last bin
        ([20, math.nan, 60, 60], "abcd", 60),
        ([20, 60.5, 60.5], "abc", None),  # no year
        ([], "", None),
    ],
)
def test_an_open_end_is_the_only_number_of_the_last_bin(numbers, people, top):
    assert find_open_end(AGE, [float(number) for number in numbers], people) == top


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "years", "spread": 2.0, "top": 59}, "top must be between"),
        ({"top": 60}, "top\n.*belongs to head.kind years and to classes with a head.spread"),
        ({"kind": "coral", "top": 60}, "belongs to head.kind years and to classes with a head.spread"),
        ({"spread": 2.0, "top": 59}, "top must be between"),
        ({"bins_loss": 1.0}, "belong to head.kind years"),
        ({"kind": "coral", "spread": 2.0}, "spread does not apply to head.kind coral"),
    ],
)
def test_parts_of_a_head_that_do_not_fit_are_refused(head, message):
    with pytest.raises(ValidationError, match=message):
        age_config(**head)


def test_class_weights_multiply_what_a_sample_counts():
    heads = age_heads(weights={">=60": 2.0})
    targets = heads.encode(CODES, AGES)
    assert targets.sum(axis=1).tolist() == [1, 1, 1, 2, 0]
    outputs = torch.randn((4, 3), generator=torch.manual_seed(1))
    each = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(CODES[:4, 0]), reduction="none")
    by_hand = (each[0] + each[1] + each[2] + 2 * each[3]) / 5
    assert heads.loss(outputs, torch.from_numpy(targets[:4])).item() == pytest.approx(by_hand.item())


def test_ordinal_outputs_are_the_published_conditional_losses():
    heads = age_heads(kind="ordinal")
    outputs = torch.tensor([[0.3, -0.2], [1.5, 0.4]])
    log = torch.nn.functional.logsigmoid
    by_hand = -(log(-outputs[0, 0]) + log(outputs[1, 0]) + log(-outputs[1, 1])) / 2  # classes 0 and 1
    targets = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    assert heads.loss(outputs, targets).item() == pytest.approx(by_hand.item())


def test_coral_outputs_are_the_published_losses_and_share_their_weights():
    heads = build_heads([GENDER, AGE], [TaskConfig(classes=GENDER.classes), age_config(kind="coral")])
    assert heads.tied == [slice(2, 4)]
    [head] = age_heads(kind="coral").parts
    outputs = torch.tensor([[0.3, -0.2], [1.5, 0.4]])
    log = torch.nn.functional.logsigmoid
    below = log(-outputs[0, 0]) + log(-outputs[0, 1])  # class 0 is above neither border
    between = log(outputs[1, 0]) + log(-outputs[1, 1])
    targets = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    assert head.loss(outputs, targets).item() == pytest.approx(-(below + between).item() / 2)
    [predicted] = head.probabilities(torch.tensor([[-1.0, 1.0]]))  # a contradiction, as before training
    assert predicted.min() >= 0
    assert predicted.sum().item() == pytest.approx(1)


def test_disagreement_is_the_symmetric_divergence_of_pairs():
    heads = build_heads([GENDER, AGE], [TaskConfig(classes=GENDER.classes), age_config()])
    outputs = torch.randn((6, 5), generator=torch.manual_seed(3))
    gender, age = heads.probabilities(outputs)

    def apart(predicted, first, second):
        a, b = predicted[first], predicted[second]
        return 0.5 * ((a * (a / b).log()).sum() + (b * (b / a).log()).sum())

    everyone = heads.disagreement(outputs, torch.tensor([[True, False], [True, True], [True, False]]))
    by_hand = (apart(gender, 0, 1) + apart(gender, 2, 3) + apart(gender, 4, 5)) / 3 + apart(age, 2, 3)
    assert everyone.item() == pytest.approx(by_hand.item(), rel=1e-4)
    only_first = heads.disagreement(outputs, torch.tensor([[True, False], [False, False], [False, False]]))
    assert only_first.item() == pytest.approx(apart(gender, 0, 1).item(), rel=1e-4)
    assert heads.disagreement(outputs, torch.zeros((3, 2), dtype=torch.bool)).item() == 0


def test_a_joint_heads_marginals_are_those_of_its_classes():
    configs = [TaskConfig(classes=GENDER.classes), age_config()]
    heads = build_heads([GENDER, AGE], configs, joint=True)
    assert heads.outputs == 6
    codes = np.array([[1, 2], [0, -1]])
    targets = heads.encode(codes, np.full(codes.shape, math.nan))
    assert targets[0].tolist() == [0, 0, 0, 0, 0, 1]
    assert targets[1].sum() == 0, "a label is missing"
    outputs = torch.randn((4, 6), generator=torch.manual_seed(2))
    joint = outputs.softmax(1).reshape(4, 2, 3)
    gender, age = heads.probabilities(outputs)
    assert torch.allclose(gender, joint.sum(2))
    assert torch.allclose(age, joint.sum(1))


def test_several_heads_keep_to_their_own_outputs():
    configs = [TaskConfig(classes=GENDER.classes, head={"weight": 0.5}), age_config(kind="years", spread=2.0)]
    heads = build_heads([GENDER, AGE], configs)
    assert heads.outputs == 2 + 121
    codes, numbers = np.array([[1, 0], [-1, 2]]), np.array([[math.nan, 20.0], [math.nan, 70.0]])
    targets = torch.from_numpy(heads.encode(codes, numbers))
    outputs = torch.randn((2, 123), generator=torch.manual_seed(3))
    gender, age = (build_heads([t], [c]) for t, c in zip((GENDER, AGE), configs, strict=True))
    apart = gender.loss(outputs[:, :2], targets[:, :2]) + age.loss(outputs[:, 2:], targets[:, 2:])
    assert heads.loss(outputs, targets).item() == pytest.approx(apart.item())
    assert torch.equal(heads.probabilities(outputs)[1], age.probabilities(outputs[:, 2:])[0])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"classes": ["a", "b"], "head": {"kind": "years", "spread": 1}}, "numeric label"),
        ({"classes": ["a", "b"], "edges": [3], "head": {"kind": "years"}}, "spread above 0"),
        ({"classes": ["a", "b"], "edges": [2.5], "head": {"kind": "years", "spread": 1}}, "whole numbers"),
        ({"classes": ["a", "b"], "head": {"weights": {"c": 2}}}, "names 'c'"),
        ({"classes": ["a", "b"], "head": {"bins_loss": 1}}, "belong to head.kind years"),
        ({"classes": ["a", "b"], "edges": [-5], "head": {"kind": "years", "spread": 1}}, "edges within range"),
        ({"classes": ["a", "b"], "edges": [0], "head": {"kind": "years", "spread": 1}}, "edges within range"),
        ({"classes": ["a", "b"], "edges": [121], "head": {"kind": "years", "spread": 1}}, "edges within range"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        TaskConfig.model_validate(keys)


def networks(sharing, **age):
    model = {"sharing": sharing}
    return plan_networks(
        {
            "gender": TaskConfig(classes=GENDER.classes, model=model),
            "age": TaskConfig.model_validate({"classes": AGE.classes, "edges": AGE.edges, "model": model, **age}),
        }
    )


def test_networks_are_one_per_task_or_one_for_all():
    assert [plan.name for plan in networks("separate")] == ["gender", "age"]
    [shared] = networks("shared", train={"loss": "f1"}, augment={"classes": {">=60": {"multiplier": 2}}})
    assert (shared.name, shared.heads.outputs) == ("shared", 5)
    [joint] = networks("joint", head={"weights": {">=60": 2}, "top": None})  # as earlier versions wrote it
    assert (joint.name, joint.heads.outputs) == ("joint", 6)


@pytest.mark.parametrize(
    ("sharing", "age", "message"),
    [
        ("shared", {"train": {"lr": 0.1}}, r"tasks\.age\.train\.lr is not what tasks\.gender\.train\.lr is"),
        ("shared", {"augment": {"masks": 0.5}}, r"tasks\.age\.augment\.masks is not what"),
        ("joint", {"train": {"loss": "f1"}}, r"tasks\.age\.train\.loss is not what"),
        (
            "joint",
            {"head": {"kind": "years", "spread": 2}},
            r"tasks\.age\.head\.kind has no effect with model\.sharing=joint",
        ),
        (
            "separate",
            {"model": {"sharing": "shared"}},
            r"model\.sharing is shared, and tasks\.gender\.model\.sharing is",
        ),
        (
            "separate",
            {"train": {"cutmix_with": "<29"}},
            r"tasks\.age\.train\.cutmix_with is '<29', which is none of male",
        ),
    ],
)
def test_what_a_network_can_not_follow_is_refused(sharing, age, message):
    with pytest.raises(UsageError, match=message):
        networks(sharing, **age)
