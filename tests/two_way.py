"""Answers of two models whose true difference is known, with luck of seeds, people and clips."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

PEOPLE, CLIPS = 20, 36  # of the test set of the puppets, cross-subject
WHO = np.repeat(np.arange(PEOPLE), CLIPS)
GAIN = 0.11  # points by which the first model is better: row 15 and its control
BASE = 0.65  # of the second model, between rows 2 and 15


def draw(rng: np.random.Generator, seeds: int, of_seeds: float, of_people: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Both models' answers (seeds, clips), and how much better the first is in these trainings, over all people.

    `of_seeds` and `of_people` are the standard deviations of the true difference over seeds and over people. The
    answer to a clip depends on how hard it is for both models, on how hard it is for one of them in every training,
    and on the training: models of one seed then agree over clips as rows of Table 2 do, by a correlation of 0.2 to 0.4.
    """
    training = rng.normal(0, of_seeds, seeds)
    better = BASE + GAIN + training[:, None] + np.repeat(rng.normal(0, of_people, PEOPLE), CLIPS)
    both, of_model = rng.normal(size=PEOPLE * CLIPS), rng.normal(size=(2, 1, PEOPLE * CLIPS))
    hardness = np.sqrt(0.4) * both + np.sqrt(0.2) * of_model + np.sqrt(0.4) * rng.normal(size=(2, seeds, PEOPLE * CLIPS))
    return hardness[0] < ndtri(better.clip(0.001, 0.999)), hardness[1] < ndtri(BASE), GAIN + training.mean()
