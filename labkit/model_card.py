"""The card that lies beside every export: what the model learned from, how good it is, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = "MODEL_CARD.md"
SIMULATED = "puppets"  # the name of the embedded set

_NOT_FOR = """\
- **Decisions about people**: monitoring, surveillance, assessment at work or school, medical or safety alarms
  (a fall it does not report has happened all the same), identification of anybody.
- **Anything but its own classes.** It answers with one of them whatever it is shown; there is no "none of these".
- **Probabilities as odds.** They are the softmax of the logits and are not calibrated.
"""
_SIMULATED_ONLY = """\
- **Real people at all.** It has seen simulated puppets only. On a real video its answer means nothing beyond
  showing that the machinery works.
"""
_REAL_ONLY = """\
- **Other scenes than those of its data set**: its people, rooms, viewpoints and sensors. Other ages, bodies,
  clothes and cultures were not tested.
- **Uses that the data set's licence excludes.** NTU RGB+D and its kin are for academic research; weights trained
  on them are, too.
"""

_CARD = """\
# Model card: {run}

Action recognition from RGB video: {streams}, of {classes_count} classes. Depth was present while it was trained
and is not needed, read or estimated in pixels now. Made by labkit {labkit}, torch {torch}.

## Data and protocol

{data}

- protocol {protocol}: {clips}; fingerprint of pixels and split `{fingerprint}`
- runs it comes from: {ancestors}
- seed {seed}, code version `{code}`

## Accuracy

**{accuracy:.1f} % of {total} test clips, 95 % interval {low:.1f} to {high:.1f} %** over clips (Wilson){over_people}.
One training, one seed; trained in {precision}, tested in fp32. These files differ from the network that was
tested by at most {parity:.1e} of its largest logit.

The test clips were cropped with the help of depth and skeletons (alignment "{alignment}").

A video from elsewhere is cropped without depth, and that costs accuracy which this figure does not show.

## In and out

`frames`: uint8 (batch, {num_frames}, 3, {size}, {size}), RGB; the normalisation ({normalization}) is in the graph.
`logits`: (batch, {classes_count}). `hallucination_maps`: (batch, {num_frames}, h, w), the mean over channels of the
maps after block {block} of the {maps_of} stream.

- frames: {num_frames}, evenly spaced, first and last of the video included
- crop: {crop}
- classes, in the order of the logits: {classes}

`labkit predict VIDEO --model FOLDER` does all this. `model.onnx` carries the whole description in its metadata, under
`labkit`. `model.pt2` is the same network for `torch.export.load`, which unpickles, and that can run code: open one from
somebody you trust only.

## It must not be used for

{not_for}"""


def model_card(about: Mapping[str, Any], parity: float) -> str:
    """The card as Markdown; `about` as from `export.describe`."""
    data, accuracy = about["data"], about["accuracy"]
    simulated = data["name"] == SIMULATED
    low, high = accuracy["interval"]
    counts = ", ".join(f"{count} {part} clips" for part, count in data["clips"].items())
    return _CARD.format_map({
        **about,
        "classes": "; ".join(about["classes"]), "classes_count": len(about["classes"]),
        "streams": _streams(about["modalities"], about["maps_of"]),
        "data": _data_line(data, simulated),
        "clips": counts, "fingerprint": data["fingerprint"][:16],
        "ancestors": ", ".join(about["ancestors"]) or "none",
        "total": accuracy["total"], "accuracy": 100 * accuracy["accuracy"], "low": 100 * low, "high": 100 * high,
        "over_people": _over_people(accuracy),
        "crop": crop_line(about["crop"]), "parity": parity,
        "not_for": (_SIMULATED_ONLY if simulated else _REAL_ONLY) + _NOT_FOR,
    })  # fmt: skip


def _over_people(accuracy: Mapping[str, Any]) -> str:
    """Clips of one person resemble each other, so this interval is the wider one."""
    if accuracy["interval_over_people"] is None:
        return f"; {accuracy['people']} people in them are too few for an interval over people"
    low, high = accuracy["interval_over_people"]
    return f",\n{100 * low:.1f} to {100 * high:.1f} % over the {accuracy['people']} people in them (bootstrap)"


def _streams(modalities: Mapping[str, str], maps_of: str) -> str:
    if len(modalities) == 1:
        return "one stream that sees RGB"
    other = "a stream that hallucinates what depth would tell" if maps_of == "hallucination" else "another RGB stream"
    return f"an RGB stream and {other}, tied together, both seeing RGB"


def _data_line(data: Mapping[str, Any], simulated: bool) -> str:
    if simulated:
        return (
            "The lab's embedded set: articulated puppets before two simulated Kinect cameras (`labkit data make`). "
            "No person, and no frame of NTU RGB+D, is in it."
        )
    return f"{data['name']}, prepared as the clip store `{data['store']}`. See its own documentation and licence."


def crop_line(crop: Mapping[str, Any] | None) -> str:
    """How a frame of a foreign video is cropped, in words."""
    if crop is None:
        return "the whole frame, squeezed to a square (the training clips' crop is not on record)"
    left, top, right, bottom = (100 * edge for edge in crop["box"])
    return (
        f"the average crop of the training clips, {left:.1f} to {right:.1f} % of the width and {top:.1f} to "
        f"{bottom:.1f} % of the height, of frames {crop['shape']:.2f} times as wide as high; of frames of another "
        "shape, the largest centred part in the proportions of that crop"
    )
