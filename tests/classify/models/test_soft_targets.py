"""Targets that are part label, part teacher, for every kind of head."""

import math

import numpy as np
import pytest

from classify.config import TaskConfig
from classify.data.training_set import DrawnMasks, NetworkData
from classify.models.heads import build_heads
from classify.models.soft_targets import mix_in_teacher
from classify.tasks import Task

AGE = Task("age", ("<30", "30-59", ">=60"), (30, 60), 0, 120)
GENDER = Task("gender", ("male", "female"))
CODES = np.array([[0], [1], [-1], [2]])
AGES = np.array([[20.0], [31.0], [math.nan], [math.nan]])
TEACHER = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8]], np.float32)


def age_config(**head):
    return TaskConfig(classes=AGE.classes, edges=AGE.edges, head=head)


def age_heads(**head):
    return build_heads([AGE], [age_config(**head)])


@pytest.mark.parametrize("head", [{}, {"kind": "ordinal"}, {"weights": {">=60": 3.0}}])
def test_classes_mix_row_by_row_and_keep_what_they_count(head):
    heads = age_heads(**head)
    labels = heads.encode(CODES, AGES)
    mixed = mix_in_teacher(heads, labels, TEACHER, 0.25)
    counts = labels.sum(axis=1, keepdims=True)
    assert mixed == pytest.approx(0.75 * labels + 0.25 * counts * TEACHER, abs=1e-6)
    assert mixed[2].tolist() == [0, 0, 0], "not labelled"
    assert mix_in_teacher(heads, labels, TEACHER, 0.0).tolist() == labels.tolist()


def test_a_photo_that_the_teacher_could_not_read_keeps_its_label():
    heads, teacher = age_heads(), TEACHER.copy()
    teacher[1] = np.nan
    mixed = mix_in_teacher(heads, heads.encode(CODES, AGES), teacher, 0.5)
    assert mixed[1].tolist() == [0, 1, 0]
    assert mixed[0] == pytest.approx([0.75, 0.15, 0.1])


def test_years_have_the_teachers_mass_in_every_bin_and_the_labels_shape_within():
    heads = age_heads(kind="years", spread=2.0)
    labels = heads.encode(CODES, AGES)
    mixed = mix_in_teacher(heads, labels, TEACHER, 1.0)
    bins = np.stack([mixed[:, :30].sum(1), mixed[:, 30:60].sum(1), mixed[:, 60:].sum(1)], axis=1)
    assert bins[[0, 1, 3]] == pytest.approx(TEACHER[[0, 1, 3]], abs=1e-5)
    assert mixed[2].sum() == 0
    assert mixed[0, :30].argmax() == 20
    assert mixed[0, 60:] == pytest.approx(np.full(61, 0.2 / 61), abs=1e-6), "no label is near: all years are equal"
    assert mixed[1, 30:60] == pytest.approx(labels[1, 30:60] / labels[1, 30:60].sum() * 0.6, abs=1e-5)


def test_a_joint_class_has_the_product_of_the_tasks_probabilities():
    heads = build_heads([GENDER, AGE], [TaskConfig(classes=GENDER.classes), age_config()], joint=True)
    labels = heads.encode(np.array([[1, 2]]), np.full((1, 2), math.nan))
    mixed = mix_in_teacher(heads, labels, np.array([[0.4, 0.6, 0.5, 0.3, 0.2]], np.float32), 0.5)
    product = np.outer([0.4, 0.6], [0.5, 0.3, 0.2]).ravel()
    assert mixed[0] == pytest.approx(0.5 * product + 0.5 * np.eye(6)[5], abs=1e-6)


def test_several_heads_mix_each_with_its_own_teacher():
    configs = [TaskConfig(classes=GENDER.classes), age_config(kind="years", spread=2.0)]
    heads = build_heads([GENDER, AGE], configs)
    codes, numbers = np.array([[1, 0], [-1, 2]]), np.array([[math.nan, 20.0], [math.nan, 70.0]])
    teacher = np.concatenate([[[0.4, 0.6], [0.9, 0.1]], TEACHER[:2]], axis=1).astype(np.float32)
    mixed = mix_in_teacher(heads, heads.encode(codes, numbers), teacher, 0.5)
    assert mixed[:, :2] == pytest.approx(np.array([[0.2, 0.8], [0, 0]]))
    assert mixed[1, 2 + 60 :].sum() == pytest.approx(0.5 + 0.15, abs=1e-4)


def test_no_teacher_predicts_a_mask_that_is_drawn():
    mask = Task("mask", ("wear", "incorrect", "normal"))
    heads = build_heads([GENDER, mask], [TaskConfig(classes=GENDER.classes), TaskConfig(classes=mask.classes)])
    codes = np.array([[0, 2]])
    teacher = np.array([[0.7, 0.3, 0.1, 0.1, 0.8]], np.float32)
    data = NetworkData(
        np.zeros((1, 8, 8, 3), np.uint8), codes, np.full((1, 2), math.nan), codes >= 0, codes, np.array([0]),
        np.array([], np.intp), masks=DrawnMasks(np.zeros((1, 5, 2), np.float32), 1.0, task=1, codes={"right": 0}),
        teacher_targets=teacher, teacher_weight=0.5,
    )  # fmt: skip
    training_set = data.training_set(heads)
    assert training_set.targets[0] == pytest.approx([0.85, 0.15, 0.05, 0.05, 0.9])
    assert training_set.worn["right"][0] == pytest.approx([0.85, 0.15, 1, 0, 0])
    assert data.teacher_targets is teacher
    assert teacher[0, 2] == pytest.approx(0.1), "the teacher's own table is left as it is"
