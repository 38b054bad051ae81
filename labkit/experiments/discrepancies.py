"""Where the paper's text and the authors' released code part: 32 points, what the lab does, and the switch for it.

Where a point may move accuracy, `pairs` name a target that can show it and the same target with the point decided
otherwise: trained as the target "switch:N", or there anyway. `analysis.effects` compares the two. What concerns step 3
is measured on row 14, which answers as it was trained, and once more after step 4, on the recipe: row 13, at chance,
can show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..config import Profile
from ..tools.settings import settings


@dataclass(frozen=True)
class Discrepancy:
    """One point. `switch` names the fields of a Profile that decide it, with their defaults; none is structure."""

    number: int
    point: str
    text: str  # of the paper
    code: str  # as released
    ours: str
    switch: tuple[tuple[str, Any], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()  # targets: as the lab decides, and otherwise
    training: str = ""  # what "switch:N" trains anew, from the same parents
    tried: tuple[tuple[str, tuple], ...] = ()  # field, readings: the first that the profile does not have is tried

    @property
    def switched(self) -> tuple[tuple[str, str], ...]:
        """Those of its pairs whose second target is trained for it alone."""
        return tuple(pair for pair in self.pairs if pair[1].startswith("switch:"))

    def otherwise(self, profile: Profile) -> Profile:
        """The profile with each field that is tried at the first of its readings that it does not have already."""
        for path, readings in self.tried:
            now, (concern, _, name) = settings(profile)[path], path.partition(".")
            value = next((reading for reading in readings if reading != now), now)
            profile = replace(profile, **{concern: replace(getattr(profile, concern), **{name: value})})
        return profile

    def row(self, profile: Profile) -> dict[str, Any]:
        """The point as a table shows it, with what the profile has and what the variant would try."""
        paths, tried = [path for path, _ in self.switch], [path for path, _ in self.tried]
        return {"number": self.number, "point": self.point, "text": self.text, "code": self.code, "ours": self.ours,
                "switch": ", ".join(paths) or "structure", "profile": _values(profile, tried or paths),
                "tried": _values(self.otherwise(profile), tried)}  # fmt: skip


def _values(profile: Profile, paths: list[str]) -> str:
    return ", ".join(f"{path.partition('.')[2]}={settings(profile)[path]!r}" for path in paths)


_SILENT = "silent"


def _step3(number: int, before: str = "") -> tuple[tuple[str, str], ...]:
    """A point of step 3 on row 14 and after step 4; `before` is the variant that it comes on top of."""
    row, recipe = (before, f"{before}-recipe") if before else ("table2:14", "recipe:best")
    return (row, f"switch:{number}"), (recipe, f"switch:{number}-recipe")


DISCREPANCIES: tuple[Discrepancy, ...] = (
    Discrepancy(1, "branch input at a connection", "u · f(signal), eq. 2", "f(u) + u · f(signal)", "text",
                (("model.connection", "multiply"),), (("recipe:best", "switch:1"),), "recipe",
                (("model.connection", ("gated", "multiply")),)),
    Discrepancy(2, "ReLU after eq. 2's sum", "not written", "there", "there, as in every residual unit"),
    Discrepancy(3, "bounded activations", _SILENT, "clipping at ±6 exists, never on", "none"),
    Discrepancy(4, "start of the temporal convolutions", "identity, centred in time",
                "by accident one tap of one channel: all channels show channel 1 of the frame before", "text",
                (("model.temporal_init", "identity"),), (("table2:1", "switch:4"),), "depth",
                (("model.temporal_init", ("released", "identity")),)),
    Discrepancy(5, "after a temporal convolution", "Fig. 2 shows nothing", "batch norm and ReLU", "nothing",
                (("model.temporal_norm", False),), (("table2:1", "switch:5"),), "depth",
                (("model.temporal_norm", (True, False)),)),
    Discrepancy(6, "first convolution of a unit", "3x3 in Fig. 2", "1x1", "the backbone's own"),
    Discrepancy(7, "shortcut at a connection", "not affected", "not affected", "not affected"),
    Discrepancy(8, "optimizer", _SILENT, "Adam", "code", (("step1.optimizer", "adam"),)),
    Discrepancy(9, "learning rate", "1e-3, then 1e-4 (Fig. 4)", "1e-3, constant", "code",
                (("step1.lr", 1e-3), ("step1.schedule", "constant")), (("table2:2", "switch:9"),), "rgb",
                (("step1.schedule", ("constant", "drop")),)),
    Discrepancy(10, "batch and epochs", _SILENT, "5 clips, 40 epochs", "code",
                (("step1.batch_size", 5), ("step1.epochs", 40))),
    Discrepancy(11, "frames in training", "5, evenly spaced", "half of the clips at 5 random frames", "text",
                (("clips.frame_mode", "uniform"), ("clips.stored_frames", 5)), (("table2:2", "switch:11"),), "rgb",
                # of 9 even frames every other one is of 5 even frames, so the test clips stay the same
                (("clips.frame_mode", ("mixed", "uniform")), ("clips.stored_frames", (9, 5)),
                 ("clips.modalities", (("rgb",),)))),
    Discrepancy(12, "mirroring", "half of the clips", "the same, one decision for both modalities", "as both",
                (("clips.flip", "chance"),)),
    Discrepancy(13, "weight decay", _SILENT, "1e-4 declared, never added to the loss", "none",
                (("step1.weight_decay", 0.0),)),
    Discrepancy(14, "layers of eq. 3", "several levels l", "the end of block 4", "code",
                (("distill.feature_layers", (4,)),), _step3(14), "hallucination_unconnected",
                (("distill.feature_layers", ((1, 2, 3, 4), (4,))),)),
    Discrepancy(15, "sigmoid in eq. 3", "yes", "yes, after ReLU: between 0.5 and 1", "as both",
                (("distill.feature_form", "sigmoid"),)),
    Discrepancy(16, "reduction of eq. 3", "squared norm", "sum over the batch: grows with it",
                "sum per clip, mean over clips; its scale is point 17's weight",
                (("distill.feature_reduction", "clip"),)),
    Discrepancy(17, "weight of L_hall in eq. 7", "alpha alone", "0.01 more, of the sum over 5 clips: 0.05 per clip",
                "text; the profile \"paper\" takes the code's 0.05", (("distill.hall_weight", 1.0),), _step3(17),
                "hallucination_unconnected", (("distill.hall_weight", (0.05, 1.0)),)),
    Discrepancy(18, "student's temperature in eq. 5", "1", "T, as the teacher's", "text",
                (("distill.student_temperature", 1.0),), _step3(18), "hallucination_unconnected",
                (("distill.student_temperature", (10.0, 1.0)),)),
    Discrepancy(19, "factor T² of the soft term", "none", "none; the authors' later port has it", "none",
                (("distill.temperature_squared", False),), _step3(19, before="switch:18"),
                "hallucination_unconnected",
                # it makes up for what point 18 divides by, so it comes on top of it
                (("distill.temperature_squared", (True, False)), ("distill.student_temperature", (10.0,)))),
    Discrepancy(20, "soft cross-entropy", _SILENT, "log of a softmax, without protection", "log-softmax"),
    Discrepancy(21, "constants", "alpha = lambda = 0.5, T = 10", "the same", "as both",
                (("distill.feature_weight", 0.5), ("distill.imitation", 0.5), ("distill.temperature", 10.0))),
    Discrepancy(22, "loss of row 12", "printed as eq. 4", _SILENT, "eq. 5, which the text speaks of"),
    Discrepancy(23, "batch norm of the frozen teacher", "weights frozen", "running averages, not updated", "as code"),
    Discrepancy(24, "batch norm at test", _SILENT, "by a slip, batch statistics in the source stream",
                "running averages everywhere", (("step2.bn_at_test", "running"),), (("recipe:best", "switch:24"),),
                "recipe", (("step4.bn_at_test", ("batch", "running")),)),
    Discrepancy(25, "test of step 3", "RGB alone", "real depth is injected", "RGB alone; injected is \"oracle:13\"",
                pairs=(("table2:13", "oracle:13"),)),
    Discrepancy(26, "connections in steps 3 and 4", "on", "off by default; on, step 4 stops with an error", "on",
                (("model.connection", "multiply"),),
                (("table2:13", "table2:14"), ("table2:15", "recipe:unconnected"))),
    Discrepancy(27, "noise of Table 3", "N(1, sigma), head sigma²", "deviation, per pixel and channel of the picture",
                "head read as variance; as deviation it is \"noise:speckle-std\"",
                pairs=(("table3:1e-1", "noise:speckle-std-1e-1"),)),
    Discrepancy(28, "input values", _SILENT, "RGB less VGG's mean, cut at 0; depth as it is",
                "ImageNet's mean and range",
                (("clips.normalization", "imagenet"),), (("table2:2", "switch:28"),), "rgb",
                (("clips.normalization", ("vgg", "imagenet")),)),
    Discrepancy(29, "depth as a picture", "jet", "grey, three times (another set's writer)", "text",
                (("clips.depth_encoding", "jet"),), (("table2:1", "switch:29"),), "depth",
                (("clips.depth_encoding", ("grey", "jet")),)),
    Discrepancy(30, "epoch that is kept", "validation set for lambda, alpha, T",
                "best on validation, the later of ties", "code", (("step1.selection", "best"),),
                (("table2:2", "switch:30"),), "rgb", (("step1.selection", ("best", "last")),)),
    Discrepancy(31, "modality of step 1", _SILENT, "a default that does not exist", "always named"),
    Discrepancy(32, "validation clips of cross-view",
                "seed set once, then 31 clips an action with `choice`, which repeats",
                "seed set before each action, none twice", "code"),
)  # fmt: skip
