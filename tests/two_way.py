"""Answers of two models whose true difference is known, with luck of seeds, people and clips."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

PEOPLE, CLIPS = 20, 36  # of the test set of the puppets, cross-subject
WHO = np.repeat(np.arange(PEOPLE), CLIPS)
BASE, GAIN = 0.75, 0.11  # accuracy of the second model, and what the first has more: row 15 and its control


def draw(
    rng: np.random.Generator, seeds: int, of_seeds: float, of_people: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Both models' answers (seeds, clips), and how much better the first is in these trainings, over all people.

    `of_seeds` and `of_people` are the standard deviations of the true difference over seeds and over people; each
    model has half of it. The answer to a clip depends on how hard it is for both models, on how hard it is for one
    of them in every training, and on the training.
    """
    training = rng.normal(0, of_seeds, (seeds, 1))
    half = (training + np.repeat(rng.normal(0, of_people, PEOPLE), CLIPS)) / 2
    sizes = ((1, 1), (2, 1), (2, seeds))
    both, of_model, of_training = (rng.normal(size=(*size, PEOPLE * CLIPS)) for size in sizes)
    hardness = np.sqrt(0.5) * both + np.sqrt(0.3) * of_model + np.sqrt(0.2) * of_training
    right = np.stack([BASE + GAIN + half, BASE - half]).clip(0.001, 0.999)
    return *(hardness < ndtri(right)), GAIN + float(training.mean())
