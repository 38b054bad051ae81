"""What happens in this video? A model is shown its frames and answers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LabError, printable
from .footage import Footage, read_footage
from .onnx_file import Model, open_export


@dataclass(frozen=True)
class Prediction:
    """The answer to one piece of footage: `logits` (K,), `maps` (T,h,w)."""

    footage: Footage
    about: dict[str, Any]
    logits: np.ndarray
    maps: np.ndarray

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (K,); not calibrated: 0.9 need not mean right in nine of ten cases."""
        powers = np.exp(self.logits.astype(float) - self.logits.max())
        return powers / powers.sum()

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.about["classes"][number], float(self.probabilities[number])) for number in best]

    def as_json(self, count: int = 5) -> dict[str, Any]:
        """The answer, how it came about, and what the model is worth, as plain JSON values."""
        footage = self.footage
        return {
            "video": printable(footage.source),
            "frames": {"chosen": list(footage.indices), "total": footage.total},
            "answer": [{"class": name, "probability": value} for name, value in self.top(count)],
            "notes": list(footage.notes),
            "model": {key: self.about[key] for key in ("run", "accuracy", "protocol")},
        }

    def model_line(self) -> str:
        """Who answers, and what it is worth."""
        about, name = self.about, printable(self.about["data"]["name"])
        share = about["accuracy"].get("accuracy") if isinstance(about["accuracy"], dict) else None
        worth = f", accuracy {100 * share:.1f} % on its test clips" if isinstance(share, float) else ""
        return f"model {about['run']}, trained on {name}{worth}; knows only its {len(about['classes'])} classes"

    def lines(self, count: int, picture: Path | None, as_json: bool) -> list[str]:
        """The same for a terminal."""
        told = self.as_json(count) | ({"picture": printable(picture)} if picture else {})
        if as_json:
            return [json.dumps(told, indent=1)]
        chosen, total = told["frames"]["chosen"], told["frames"]["total"]
        return [
            f"{told['video']}: frames {', '.join(map(str, chosen))} of {total}",
            self.model_line(),
            *(f"note: {note}" for note in told["notes"]),
            *(f"{100 * answer['probability']:5.1f} %  {answer['class']}" for answer in told["answer"]),
            *([f"picture: {told['picture']}"] if picture else []),
        ]


def predict_video(path: str | os.PathLike, model: Model | str | os.PathLike) -> Prediction:
    """The answer to a video file by a `Model`, or by an export: its folder or its ONNX file.

    Raises LabError for a video or an export that cannot be used; see `footage.read_footage`.
    """
    model = model if isinstance(model, Model) else open_export(model)
    return predict(read_footage(path, *model.sees), model)


def predict(footage: Footage, model: Model) -> Prediction:
    """The answer to footage that has the model's number of frames and size."""
    clip = np.ascontiguousarray(footage.frames.transpose(0, 3, 1, 2))[None]
    logits, maps = model.answer(clip)
    if not (np.isfinite(logits).all() and np.isfinite(maps).all()):
        fix = "train the run again, or ask another model: no video can mend its weights"
        raise LabError.mismatch(model.about["run"], "a finite answer of this model", "NaN or infinity", fix)
    return Prediction(footage, model.about, logits[0], maps[0])
