"""The alignment of a whole set, from the records of its store: per set-up and camera, and which clips depart.

A clip's ratio and offset are those of its cameras and of how far away people stand, so clips of one
set-up and camera resemble each other. One that does not was tracked badly, or is not what its name says.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .registration import ENOUGH, OFFSET_STEP, RATIO_STEP, View

FAR = 5.0  # |z| from which a clip is named: of NTU's 170,000 values, if they were normal, none would reach it
STEPS = {"ratio": RATIO_STEP, "offset_x": OFFSET_STEP, "offset_y": OFFSET_STEP}  # a MAD is taken as no less
VIEW = ["setup", "camera"]


def alignment_rows(records: Iterable[dict]) -> pd.DataFrame:
    """One row a clip: its view, ratio (colour px per depth px), offset and residual (depth px), and its z.

    `fallback` marks clips that another alignment stands in for, `source` says whose; they have neither
    residual nor z. `z` is the largest of the ratio's and the offset's robust z-scores, `worst` says whose,
    among the clips of the same set-up and camera, or where those are fewer than `registration.ENOUGH`, of
    the same camera; NaN where those are too few as well. Clips that were not registered are left out.
    """
    rows = []
    for record in records:
        found, view = record["alignment"], View.of(record["about"])
        if found["fallback"] or found["residual_px"] is not None:
            residual = np.nan if found["fallback"] else found["residual_px"]
            rows.append((record["id"], *view, found["ratio"], *found["offset"], residual, found["fallback"],
                         found.get("source", "")))  # fmt: skip
    columns = ["clip", *VIEW, *STEPS, "residual_px", "fallback", "source"]
    return _with_z(pd.DataFrame(rows, columns=columns))


def _with_z(rows: pd.DataFrame) -> pd.DataFrame:
    fitted, scores = rows[~rows["fallback"].astype(bool)], {}
    for name, step in STEPS.items():
        scores[name] = pd.Series(np.nan, rows.index)
        for near in ("camera", VIEW):  # the nearer counts
            for _, values in fitted.groupby(near)[name]:
                if len(values) >= ENOUGH:
                    away = values - values.median()
                    scores[name][values.index] = away / max(1.4826 * away.abs().median(), step)
    table = pd.DataFrame(scores)
    worst = table.abs().fillna(-1).idxmax(axis=1) if len(rows) else pd.Series(dtype=str)
    z = [table.at[row, name] for row, name in worst.items()]
    return rows.assign(z=np.array(z, float), worst=worst.where(np.isfinite(z), "") if len(rows) else "")


def outliers(rows: pd.DataFrame) -> pd.DataFrame:
    """The clips of `alignment_rows` that depart by FAR or more, the farthest first."""
    far = rows[rows["z"].abs() >= FAR]
    return far.reindex(far["z"].abs().sort_values(ascending=False, kind="stable").index)


def by_view(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a set-up and camera: clips, medians and interquartile ranges, residuals, stand-ins, outliers.

    Medians are over the clips that were fitted; pixels are those of the depth image.
    """
    table = []
    for view, group in rows.groupby(VIEW):
        fitted = group[~group["fallback"].astype(bool)]
        quartiles = fitted[[*STEPS]].quantile([0.25, 0.5, 0.75])
        told = dict(zip(VIEW, view, strict=True)) | {"clips": len(group)}
        for name in STEPS:
            told |= {name: quartiles.at[0.5, name], f"{name}_iqr": quartiles.at[0.75, name] - quartiles.at[0.25, name]}
        told |= {"residual_px": fitted["residual_px"].median(), "residual_95": fitted["residual_px"].quantile(0.95)}
        table.append(told | {"fallbacks": len(group) - len(fitted), "outliers": int((group["z"].abs() >= FAR).sum())})
    return pd.DataFrame(table)
