"""The card that lies beside every export: what the model learned from, how good it is, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..experiments.statistics import wilson_interval
from .describe import UNKNOWN

CARD = "MODEL_CARD.md"
SIMULATED = "puppets"  # the name of the embedded set
OF_ACTIONS = (SIMULATED, "NTU60", "NTU120", "N-UCLA", "UTD-MHAD", "UWA3DII")  # data sets of people who act

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
_OF_PEOPLE = """\
- **Other scenes than those of its data set**: its people, rooms, viewpoints and sensors. Other ages, bodies,
  clothes and cultures were not tested.
- **Uses that the data set's licence excludes.** NTU RGB+D and its kin are for academic research; weights trained
  on them are, too.
"""
_OF_ANYTHING = """\
- **Other scenes than those of its data set**: things, surroundings, viewpoints and cameras that it does not show
  were not tested.
- **Uses that the owner of the data set excludes**, or people who can be seen in it: weights trained on it are no
  other matter.
"""
_CROPPED = """\
The test clips were cropped with the help of depth and skeletons (alignment "{alignment}").

A video from elsewhere is cropped without depth, and that costs accuracy which this figure does not show."""
_WHOLE = """\
The test clips were not cropped: each whole image was squeezed to a square, as a video from elsewhere is."""

_PUPPETS = """\
The lab's embedded set: articulated puppets before two simulated Kinect cameras (`labkit data make`). No person, and
no frame of NTU RGB+D, is in it."""
_DATA = "{name}, prepared as the clip store `{store}`. See its own documentation and licence."

_CARD = """\
---
{metadata}
---

# Model card: {run}

{task}: {streams}, of {classes_count} classes. {training}
Made by labkit {labkit}, torch {torch}.

## Data and protocol

{data}

- protocol {protocol}: {clips}; fingerprint of pixels and split `{fingerprint}`
- runs it comes from: {ancestors}
- seed {seed}, training version {training_version}

## Accuracy

**{accuracy:.1f} % of {total} test clips, 95 % interval {low:.1f} to {high:.1f} %** over clips (Wilson){over_people}.
One training, one seed; trained in {precision}, tested in fp32. The ONNX file differs from the network that
was tested by at most {parity:.1e} of its largest logit.

{cropped}

## In and out

`frames`: uint8 (batch, {num_frames}, 3, {size}, {size}), RGB; the normalisation ({normalization}) is in the graph.
`logits`: (batch, {classes_count}). `hallucination_maps`: (batch, {num_frames}, h, w), the mean over channels of the
maps after block {block} of {maps_stream}.

- frames: {num_frames}, evenly spaced, first and last of the video included
- crop: {crop}
- classes, in the order of the logits: {classes}

`labkit predict VIDEO --model FOLDER` does all this. `model.onnx` carries the whole description in its metadata, under
`labkit`.

## It must not be used for

{not_for}"""


def model_card(about: Mapping[str, Any], parity: float) -> str:
    """The card as Markdown; `about` as from `describe.describe`, `parity` the share by which its logits differ."""
    data, accuracy = about["data"], about["accuracy"]
    simulated, of_actions = data["name"] == SIMULATED, data["name"] in OF_ACTIONS
    only = _SIMULATED_ONLY if simulated else _OF_PEOPLE if of_actions else _OF_ANYTHING
    low, high = wilson_interval(accuracy["correct"], accuracy["total"])
    return _CARD.format_map({
        **about,
        "metadata": _metadata(about, simulated, of_actions),
        "classes": "; ".join(about["classes"]), "classes_count": len(about["classes"]),
        "task": "Action recognition from RGB video" if of_actions else "Classification of RGB images or video",
        "training": _training(about["trained_with"], data),
        "maps_stream": "its stream" if about["maps_of"] == "stream" else f"the {about['maps_of']} stream",
        "cropped": (_WHOLE if _is_whole(about["crop"]) else _CROPPED).format_map(about),
        "streams": _streams(about["modalities"], about["maps_of"]),
        "data": _PUPPETS if simulated else _DATA.format_map(data),
        "clips": ", ".join(f"{count} {part} clips" for part, count in data["clips"].items()),
        "fingerprint": data["fingerprint"][:16], "ancestors": ", ".join(about["ancestors"]) or "none",
        "total": accuracy["total"], "accuracy": 100 * accuracy["accuracy"], "low": 100 * low, "high": 100 * high,
        "over_people": _over_people(accuracy), "crop": _crop_line(about["crop"]), "parity": parity,
        "not_for": only + _NOT_FOR,
    })  # fmt: skip


def _metadata(about: Mapping[str, Any], simulated: bool, of_actions: bool) -> str:
    """The card's head in YAML, as model hubs read it: licence, tags, and the test accuracy as a share."""
    data, task = about["data"], "video-classification"
    licence = {"license": "mit"} if simulated else {"license": "other", "license_name": "that-of-the-data-set"}
    tested = EvalResult(
        task_type=task, dataset_type=data["name"], dataset_name=data["name"], dataset_config=about["protocol"],
        dataset_split="test", dataset_args={"fingerprint": data["fingerprint"]}, metric_type="accuracy",
        metric_value=about["accuracy"]["accuracy"],
    )  # fmt: skip
    return ModelCardData(
        **licence, library_name="onnx", pipeline_tag=task, datasets=[data["name"]], metrics=["accuracy"],
        tags=["knowledge-distillation", "rgb-d", *["action-recognition"] * of_actions, *["simulated"] * simulated],
        model_name=about["run"], eval_results=[tested],
    ).to_yaml()  # fmt: skip


def _over_people(accuracy: Mapping[str, Any]) -> str:
    """Clips of one person resemble each other, so this interval is the wider one."""
    if accuracy["people"] is None:
        return ".\nWhom the clips show is not recorded: where several show one person or scene, it is too narrow"
    if accuracy["interval_over_people"] is None:
        return f"; {accuracy['people']} people in them are too few for an interval over people"
    low, high = accuracy["interval_over_people"]
    return f",\n{100 * low:.1f} to {100 * high:.1f} % over the {accuracy['people']} people in them (t interval)"


def _training(seen: Sequence[str], data: Mapping[str, Any]) -> str:
    """What was there in training only; the lab calls it depth, whatever it is."""
    others = [modality for modality in seen if modality not in ("rgb", UNKNOWN)]
    if not others and UNKNOWN in seen:
        return "What was present while it was trained is not known: runs that it comes from are gone."
    if not others:
        return "It was trained on RGB alone."
    names, is_depth = " and ".join(others).capitalize(), others == ["depth"]
    if is_depth and data["depth_is"]:
        names = f"The second image that labkit calls depth is, here, {data['depth_is']}; it"
    elif is_depth and data["name"] not in OF_ACTIONS:
        names = "Depth, or what its data set has in the place of depth,"
    return (f"{names} {'was' if len(others) == 1 else 'were'} present while it was trained and "
            f"{'is' if len(others) == 1 else 'are'} not needed, read or estimated in pixels now.")  # fmt: skip


def _is_whole(crop: Mapping[str, Any]) -> bool:
    return all(abs(a - b) < 1e-9 for a, b in zip(crop["box"], (0, 0, 1, 1), strict=True))


def _streams(modalities: Mapping[str, str], maps_of: str) -> str:
    if len(modalities) == 1:
        return "one stream that sees RGB"
    other = "a stream that hallucinates what depth would tell" if maps_of == "hallucination" else "another RGB stream"
    return f"an RGB stream and {other}, tied together, both seeing RGB"


def _crop_line(crop: Mapping[str, Any]) -> str:
    """How a frame of a foreign video is cropped, in words."""
    if _is_whole(crop):
        shape = f"{crop['shape']:.2f} times as wide as high"
        return f"none of frames {shape}; of others, the largest centred part of that shape"
    left, top, right, bottom = (100 * edge for edge in crop["box"])
    return (
        f"the average crop of the training clips, {left:.1f} to {right:.1f} % of the width and {top:.1f} to "
        f"{bottom:.1f} % of the height, of frames {crop['shape']:.2f} times as wide as high; of frames of another "
        "shape, the largest centred part in the proportions of that crop"
    )
