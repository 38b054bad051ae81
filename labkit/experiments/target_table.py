"""Every number of the paper that the lab makes, and the lab's own beside them: the table of targets.

A target is a reading of a run. The controls have no number in the paper: they have the capacity, the
training budget and the starting point of a row, and no depth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ..errors import LabError
from ..lab import Lab
from ..runs import Run
from .discrepancies import DISCREPANCIES
from .studies.noise import CORRUPTIONS
from .trainings import MORE_PEOPLE, make

BRACKETS = {"oracle": "oracle", "reading": "other reading"}  # what stands behind the titles of a group


@dataclass(frozen=True)
class Target:
    """One number: which training makes it, which of its run's readings is meant, and what the paper printed."""

    name: str
    title: str  # what the model is called in words, without a row's number
    role: str  # whose colour it has in the figures
    tested_on: str
    training: str  # its name, see `trainings.get_training`
    reading: str
    paper: dict[str, float] = field(default_factory=dict)  # protocol -> accuracy in %

    @property
    def group(self) -> str:
        """What comes before the colon: "table2", "suppl", "control", ..."""
        return self.name.partition(":")[0]

    @property
    def row(self) -> str:
        """Its number in Table 2 or in the supplement's table: "15", "15a"; empty for what has none."""
        return self.name.partition(":")[2] if self.group in ("table2", "suppl") else ""

    @property
    def named(self) -> str:
        """The title as text, tables and figures show it: "hallucination + RGB (row 15)", "two RGB streams (control)".

        Nothing else puts a row's number or the word control behind a model's name.
        """
        kind = "control" if self.role == "control" else BRACKETS.get(self.group)
        bracket = f"row {self.row}" if self.row else kind
        return f"{self.title} ({bracket})" if bracket else self.title

    @property
    def trainings(self) -> tuple[str, ...]:
        """What it is made of, as of a table or figure."""
        return (self.training,)

    def left_out(self, protocol: str) -> bool:
        """Whether the paper has this row for cross-subject and not for cross-view, when that is asked for."""
        return protocol == "cross-view" and self.paper.keys() == {"cross-subject"}

    def make(self, lab: Lab) -> Run:
        """The run that holds this number, trained if it is not there yet (unless `lab.dry`)."""
        return make(self.training, lab)


def _both(cross_subject: float, cross_view: float) -> dict[str, float]:
    return {"cross-subject": cross_subject, "cross-view": cross_view}


def _cs(accuracy: float) -> dict[str, float]:
    return {"cross-subject": accuracy}


# Table 3, cross-view, by severity.
TABLE3 = {"none": 81.43, "1e-3": 81.34, "1e-2": 81.12, "1e-1": 76.85, "1e0": 62.47, "1e1": 51.43, "void": 14.24}


def _noisy(reading: str) -> Target:
    """Row 8 with corrupted depth: "table3:1e-1" of Table 3, and "noise:holes-0.25" for what it leaves out.

    Table 3's head, sigma squared, is taken at its word: its numbers are variances. As the released code has
    it they are standard deviations: "noise:speckle-std-1e-1", with the same numbers of the paper beside it.
    """
    kind, _, severity = reading.partition(":")
    default = kind in ("none", "speckle", "void")
    printed = TABLE3[severity or kind] if default or kind == "speckle-std" else None
    return Target(
        f"table3:{severity or kind}" if default else f"noise:{kind}-{severity}",
        "RGB + clean depth" if kind == "none" else f"RGB + noisy depth, {kind} {severity}".strip(),
        "two_stream",
        "RGB + worse depth",
        "noise",
        reading,
        {"cross-view": printed} if printed else {},
    )


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("table2:1", "depth alone", "depth", "depth", "depth", "stream", _both(70.44, 75.16)),
        Target("table2:2", "RGB alone", "rgb", "RGB", "rgb", "stream", _both(66.52, 71.39)),
        Target("table2:3", "Hoffman et al., eq. 3", "other", "RGB", "joint_features", "fused", _cs(64.64)),
        Target("table2:4", "Hoffman et al., eq. 5", "other", "RGB", "joint_soft_labels", "fused", _cs(68.60)),
        Target("table2:5", "Hoffman et al., eq. 7", "other", "RGB", "joint_all", "fused", _cs(70.70)),
        Target("table2:6", "RGB + depth, depth branch", "depth", "depth", "two_stream", "source", _both(71.09, 77.30)),
        Target("table2:7", "RGB + depth, RGB branch", "rgb", "RGB + depth", "two_stream", "target",
               _both(66.68, 56.26)),
        Target("table2:8", "RGB + depth", "two_stream", "RGB + depth", "two_stream", "fused", _both(79.73, 81.43)),
        Target("table2:9", "RGB + depth, no connections", "two_stream", "RGB + depth", "two_stream_unconnected",
               "fused", _both(78.27, 82.11)),
        Target("table2:10", "hallucination, eq. 3, no connections", "hallucination", "RGB", "features_unconnected",
               "alone", _both(69.93, 70.64)),
        Target("table2:11", "hallucination, eq. 3", "hallucination", "RGB", "features", "alone", _cs(70.47)),
        Target("table2:12", "hallucination, eq. 5", "hallucination", "RGB", "soft_labels", "alone", _cs(71.52)),
        Target("table2:13", "hallucination alone", "hallucination", "RGB", "hallucination", "alone",
               _both(71.93, 74.10)),
        Target("table2:14", "hallucination, no connections", "hallucination", "RGB", "hallucination_unconnected",
               "alone", _cs(71.10)),
        Target("table2:15", "hallucination + RGB", "rgb_only", "RGB", "rgb_only", "fused", _both(73.42, 77.21)),
        # the supplement's inverted study: RGB is the source, and the modality that is missing at test
        Target("suppl:6a", "inverted RGB + depth, depth branch", "depth", "RGB + depth", "inverted", "target",
               _both(66.60, 73.68)),
        Target("suppl:7a", "inverted RGB + depth, RGB branch", "rgb", "RGB", "inverted", "source", _both(63.98, 61.18)),
        Target("suppl:8a", "inverted RGB + depth", "two_stream", "RGB + depth", "inverted", "fused",
               _both(74.45, 78.55)),
        Target("suppl:13a", "inverted hallucination alone", "hallucination", "depth", "inverted_hallucination", "alone",
               _both(68.47, 72.77)),
        Target("suppl:15a", "inverted hallucination + depth", "rgb_only", "depth", "inverted_only", "fused",
               _both(66.86, 73.34)),
        # the same with depth's signal let in at test, as the released code scores rows 11 to 13
        Target("oracle:11", "hallucination, eq. 3, with depth's signals", "hallucination", "RGB + depth", "features",
               "with_depth", _cs(70.47)),
        Target("oracle:12", "hallucination, eq. 5, with depth's signals", "hallucination", "RGB + depth", "soft_labels",
               "with_depth", _cs(71.52)),
        Target("oracle:13", "hallucination with depth's signals", "hallucination", "RGB + depth", "hallucination",
               "with_depth", _both(71.93, 74.10)),
        # equal capacity, training budget and starting point, no depth
        Target("control:8", "two RGB streams", "control", "RGB", "two_rgb_streams", "fused"),
        Target("control:13", "RGB stream, trained on", "control", "RGB", "undistilled", "alone"),
        Target("control:15", "two RGB streams, trained on", "control", "RGB", "rgb_only_undistilled", "fused"),
        # depth's weights to start from, and no teacher: what does distilling add to where it starts?
        Target("untaught:13", "depth's weights, labels alone", "control", "RGB", "untaught", "alone"),
        Target("untaught:15", "depth's weights, labels alone + RGB", "control", "RGB", "rgb_only_untaught", "fused"),
        # the same from optical flow, which RGB alone gives: is it depth's weights, or any other view's?
        Target("start:flow-8", "RGB + flow", "control", "RGB", "two_stream_flow", "fused"),
        Target("start:flow-13", "flow's weights, labels alone", "control", "RGB", "untaught_flow", "alone"),
        Target("start:flow-15", "flow's weights, labels alone + RGB", "control", "RGB", "rgb_only_flow", "fused"),
        # the other reading of what the paper leaves open
        Target("reading:3-frozen", "Hoffman et al., eq. 3, depth frozen", "other", "RGB", "joint_features_frozen",
               "fused", _cs(64.64)),
        Target("reading:4-frozen", "Hoffman et al., eq. 5, depth frozen", "other", "RGB", "joint_soft_labels_frozen",
               "fused", _cs(68.60)),
        Target("reading:5-frozen", "Hoffman et al., eq. 7, depth frozen", "other", "RGB", "joint_all_frozen", "fused",
               _cs(70.70)),
        Target("reading:3-weighted", "Hoffman et al., eq. 3, their own weights", "other", "RGB",
               "joint_features_weighted", "fused", _cs(64.64)),
        Target("reading:5-long", "Hoffman et al., eq. 7, trained longer", "other", "RGB", "joint_all_long", "fused",
               _cs(70.70)),
        Target("reading:7", "RGB + depth, RGB branch without signals", "rgb", "RGB", "target_alone", "alone",
               _both(66.68, 56.26)),
        Target("reading:6a", "inverted RGB + depth, depth branch without signals", "depth", "depth",
               "inverted_target_alone", "alone", _both(66.60, 73.68)),
        Target("reading:10", "hallucination, eq. 3, no connections at all", "hallucination", "RGB",
               "features_unconnected_row9", "alone", _both(69.93, 70.64)),
        Target("reading:13a", "inverted hallucination, depth missing", "hallucination", "RGB",
               "inverted_hallucination_rgb", "alone", _both(68.47, 72.77)),
        Target("reading:15a", "inverted hallucination + RGB, depth missing", "rgb_only", "RGB", "inverted_only_rgb",
               "fused", _both(66.86, 73.34)),
        # row 13 out of chance, with RGB alone: what takes the place of depth's signals, and the released connection
        Target("ladder:own-signals", "hallucination with its own signals", "hallucination", "RGB", "ladder",
               "own_signals"),
        Target("ladder:renewed", "hallucination, batch statistics of RGB clips", "hallucination", "RGB", "ladder",
               "renewed"),
        Target("ladder:row14-signals", "hallucination with an unconnected one's signals", "hallucination", "RGB",
               "ladder", "other_signals"),
        Target("ladder:gated", "hallucination, gated connections", "hallucination", "RGB", "hallucination_gated",
               "alone"),
        # one RGB stream taught by others in one stage; controls: row 2, and teachers that see RGB
        Target("stream:flow", "flow alone", "other", "RGB (flow)", "flow", "stream"),
        Target("stream:skeleton", "skeleton alone", "other", "skeleton", "skeleton", "stream"),
        Target("stream:layout", "layout alone", "other", "boxes", "layout", "stream"),
        Target("system:generalized", "soft labels, depth teacher", "other", "RGB", "generalized", "stream"),
        Target("system:generalized-rgb", "soft labels, RGB teacher", "control", "RGB", "generalized_rgb", "stream"),
        Target("system:mars", "MARS, depth teacher", "other", "RGB", "mars", "stream"),
        Target("system:focal", "FCKD-style, depth teacher", "other", "RGB", "focal", "stream"),
        Target("system:focal-several", "FCKD-style, depth + flow + skeleton", "other", "RGB", "focal_several",
               "stream"),
        Target("student:softened", "soft labels, T = 4 on both sides, depth teacher", "other", "RGB", "softened",
               "stream"),
        Target("student:softened-rgb", "soft labels, T = 4 on both sides, RGB teacher", "control", "RGB",
               "softened_rgb", "stream"),
        Target("student:mars-rgb", "MARS, RGB teacher", "control", "RGB", "mars_rgb", "stream"),
        Target("student:focal-rgb", "FCKD-style, RGB teacher", "control", "RGB", "focal_rgb", "stream"),
        Target("system:teachers-depth", "RGB and depth teachers, fused", "two_stream", "RGB + depth", "teachers_depth",
               "fused"),
        Target("system:ensemble-depth", "Radevski et al., RGB + depth teachers", "other", "RGB", "ensemble_depth",
               "stream"),
        Target("system:ensemble-rgb", "Radevski et al., two RGB teachers", "control", "RGB", "ensemble_rgb", "stream"),
        Target("radevski:teachers", "RGB, flow and layout teachers, fused", "other", "RGB + flow + boxes", "teachers",
               "fused"),
        Target("radevski:uniform", "Radevski et al., uniform weights", "other", "RGB", "ensemble_uniform", "stream"),
        Target("radevski:sample", "Radevski et al., weights per clip", "other", "RGB", "ensemble_sample", "stream"),
        Target("radevski:dataset", "Radevski et al., weights per set", "other", "RGB", "ensemble_dataset", "stream"),
        # the lab's own recipe, row 14's hallucination in step 4, its parts and its control
        Target("recipe:best", "our recipe, no connections in step 3", "rgb_only", "RGB", "recipe", "fused"),
        Target("recipe:eq3", "our recipe, eq. 3 in step 3", "rgb_only", "RGB", "recipe_features", "fused"),
        Target("recipe:eq5", "our recipe, eq. 5 in step 3", "rgb_only", "RGB", "recipe_soft_labels", "fused"),
        Target("recipe:seen-start", "our recipe, started from RGB", "rgb_only", "RGB", "recipe_seen_start", "fused"),
        Target("recipe:unconnected", "our recipe, no connections in step 4", "rgb_only", "RGB", "recipe_unconnected",
               "fused"),
        Target("recipe:late-fusion", "our recipe, no connections at all", "rgb_only", "RGB", "recipe_late_fusion",
               "fused"),
        Target("recipe:taught", "our recipe, step 4 taught too", "rgb_only", "RGB", "recipe_taught", "fused"),
        Target("recipe:maps", "our recipe, four blocks' maps", "rgb_only", "RGB", "recipe_maps", "fused"),
        Target("recipe:self", "our recipe, RGB teacher", "control", "RGB", "recipe_self", "fused"),
        Target("recipe:labels", "our recipe, labels alone, started from RGB", "control", "RGB", "recipe_labels",
               "fused"),
        # the lesson: one RGB stream from depth's weights learns what RGB and depth say together, with pairs that
        # nobody labelled; controls: labels alone, a teacher that sees RGB alone, lessons of other clips
        Target("lesson:13", "taught by RGB + depth", "rgb_only", "RGB", "lesson_unlabelled", "alone"),
        Target("lesson:labels", "depth's weights, longer on labels", "control", "RGB", "lesson_labels", "alone"),
        Target("lesson:self", "taught by itself", "control", "RGB", "lesson_self_unlabelled", "alone"),
        Target("lesson:shuffled", "taught with other clips' answers", "control", "RGB", "lesson_shuffled_unlabelled",
               "alone"),
        Target("lesson:seen-start", "taught by RGB + depth, started from RGB", "rgb_only", "RGB", "lesson_seen_start",
               "alone"),
        Target("lesson:13-labelled", "taught by RGB + depth, labelled clips", "rgb_only", "RGB", "lesson", "alone"),
        Target("lesson:self-labelled", "taught by itself, labelled clips", "control", "RGB", "lesson_self", "alone"),
        Target("lesson:shuffled-labelled", "taught with other clips' answers, labelled clips", "control", "RGB",
               "lesson_shuffled", "alone"),
        Target("lesson:15", "taught by RGB + depth, step 4", "rgb_only", "RGB", "lesson_rgb_only", "fused"),
        Target("lesson:labels-15", "depth's weights, longer on labels, step 4", "control", "RGB",
               "lesson_labels_rgb_only", "fused"),
        Target("lesson:self-15", "taught by itself, step 4", "control", "RGB", "lesson_self_rgb_only", "fused"),
        Target("lesson:control", "RGB stream, longer on labels", "control", "RGB", "lesson_rgb_twin", "alone"),
        Target("lesson:control-15", "two RGB streams, the first longer on labels", "control", "RGB",
               "lesson_rgb_twin_rgb_only", "fused"),
        # why no gain is seen with an unseen camera: the lesson with unlabelled pairs of that camera, too
        Target("camera:13", "taught by RGB + depth, pairs of every camera", "rgb_only", "RGB", "lesson_every_camera",
               "alone"),
        Target("camera:self", "taught by itself, pairs of every camera", "control", "RGB", "lesson_self_every_camera",
               "alone"),
        # row 8 as its depth gets worse
        *(_noisy(reading) for kind in CORRUPTIONS.values() for reading in kind.readings),
    )
}  # fmt: skip

for point in DISCREPANCIES:  # a target with one point decided otherwise: its own training, the same reading
    for base, name in point.switched:
        title = f"{TARGETS[base].title}; {point.point}"
        TARGETS[name] = replace(TARGETS[base], name=name, title=title, training=name, paper={})

# The rows of the paper's claims on more people: the same runs' networks and readings. Targets by the name of their row.
ON_MORE_PEOPLE: dict[str, str] = {}
for name, target in list(TARGETS.items()):
    if target.group in ("table2", "suppl", "control", "untaught"):
        ON_MORE_PEOPLE[name] = f"people:{target.row or name.replace(':', '-')}"
        TARGETS[ON_MORE_PEOPLE[name]] = replace(target, name=ON_MORE_PEOPLE[name], title=f"{target.title}, more people",
                                                training=target.training + MORE_PEOPLE, paper={})  # fmt: skip

# What `labkit reproduce all` makes: the paper's own numbers and their controls.
ALL_GROUPS = ("table2", "suppl", "oracle", "control", "untaught", "table3")

# What the notebooks read: `labkit run` makes it before them, several trainings at a time.
IN_NOTEBOOKS = (
    *ALL_GROUPS, "stream", "system", "radevski", "recipe:best", "lesson:13", "lesson:labels", "lesson:self",
    "ladder:own-signals", "ladder:renewed", "ladder:row14-signals",
)  # fmt: skip


ONE_PROTOCOL = {"people": "cross-subject", "camera": "cross-view"}  # groups that have a meaning in one alone

# Tables and figures made of several targets (`labkit.figures.paper`), named here for those who need not draw.
FIGURE_NAMES = ("table1", "fig3", "fig4", "claims", "gaps", "discrepancies", "cues", "overview")


def asked_under(name: str, protocol: str) -> bool:
    """Whether a target or group has a meaning under this protocol."""
    return ONE_PROTOCOL.get(name.partition(":")[0], protocol) == protocol


def get_targets(names: Iterable[str], protocol: str = "cross-subject") -> list[Target]:
    """Targets by name or group ("table2", "radevski"); "all" is the paper's and their controls, "everything" more.

    For cross-view "all" leaves out the rows that the paper gives for cross-subject only; asked for by name
    or group, they are made all the same. Raises LabError for a name there is not, and for one of another protocol.
    """
    wanted = list(names)
    groups = {target.group for target in TARGETS.values()}
    for name in wanted:
        if name not in {"all", "everything", *groups, *TARGETS}:
            fix = "see `labkit targets` for every target"
            expected = (f"a target such as table2:15, one of the groups all, everything, {', '.join(sorted(groups))}, "
                        f"or one of the tables and figures {', '.join(FIGURE_NAMES)}")  # fmt: skip
            raise LabError.mismatch(None, expected, repr(name), fix)
        if not asked_under(name, protocol):
            only = ONE_PROTOCOL[name.partition(":")[0]]
            raise LabError.mismatch(None, f"protocol {only} for {name}", protocol, f"ask for it by --protocol {only}")
    every = {group for group in groups if asked_under(group, protocol)}
    named = set(wanted) | (every if "everything" in wanted else set())
    broad = {*ALL_GROUPS} if "all" in wanted else set()
    return [
        target for target in TARGETS.values()
        if named & {target.name, target.group} or (target.group in broad and not target.left_out(protocol))
    ]  # fmt: skip
