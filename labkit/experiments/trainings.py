"""Every training that some number rests on, by name, with the trainings it starts from.

A training is named here once; a run, its outcome, is named by its inputs. Two names that come to the
same inputs are one run, so nothing is trained twice. `make` is the plain way through; `graph` walks
the same dictionary with many workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from ..config import ClipConfig, DistillConfig
from ..data.index import UNLABELLED_PART
from ..data.prepare import prepare
from ..data.splits import find_dataset
from ..data.store import INDEX, ClipStore
from ..errors import LabError
from ..lab import Lab
from ..puppets.opening import store_path
from ..runs import Run, RunSpec
from ..trainers import distill_hallucination, finetune_rgb_only, train_stream, train_two_stream
from .discrepancies import DISCREPANCIES, Discrepancy
from .studies.more_people import answer_more_people
from .studies.noise import measure_noise
from .studies.systems import distill_stream, fuse_predictions, read_ladder, read_target_alone, train_jointly


@dataclass(frozen=True)
class Training:
    """One node of the graph: `make(lab, *runs of parents)` returns the run, trained if it is not there yet."""

    name: str
    make: Callable[..., Run]
    parents: tuple[str, ...] = ()


def _distilled(connection: str | None = "profile", **changes) -> Callable[..., Run]:
    """Step 3 with changes to the profile's `DistillConfig`."""

    def make(lab: Lab, two_stream: Run, teacher: Run | None = None) -> Run:
        distill = replace(lab.profile.distill, **changes)
        return distill_hallucination(lab, two_stream, distill=distill, connection=connection, teacher=teacher)

    return make


def _jointly(objective: str, reading: str | None = None, stages: tuple[str, ...] = ("step3",)) -> Callable[..., Run]:
    """One stage, with as many epochs as these steps have together."""

    def make(lab: Lab, depth: Run, rgb: Run) -> Run:
        distill = replace(lab.profile.distill, objective=objective)
        epochs = sum(getattr(lab.profile, stage).epochs for stage in stages)
        train = replace(lab.profile.step3, epochs=epochs)
        return train_jointly(lab, depth, rgb, distill=distill, train=train, reading=reading)

    return make


def _student(objective: str, **settings) -> Callable[..., Run]:
    def make(lab: Lab, *teachers: Run) -> Run:
        unread = {"hall_weight": DistillConfig.hall_weight}  # eq. 3 is none of theirs, so it does not name their runs
        distill = replace(lab.profile.distill, objective=objective, **unread, **settings)
        return distill_stream(lab, teachers, distill=distill)

    return make


RADEVSKI = ("rgb", "flow", "layout")  # the teachers of their own setting: RGB, optical flow, object boxes
RADEVSKI_SETTINGS = {"imitation": 1.0, "temperature": 1.0}  # their code's: a = 1, b = 0, T = 1, nearly the label

# Tried as recipes: all four blocks' plain maps; a teacher that stays for step 4.
TEMPERED = {"temperature": 4.0, "student_temperature": 4.0, "temperature_squared": True}
MAPS = {"feature_form": "normalized", "feature_layers": (1, 2, 3, 4)}
SOFT_FUSED = DistillConfig(objective="generalized", imitation=0.7, teacher_logits="fused", **TEMPERED)
# The lesson: depth's weights learn what RGB and depth say together, softened; held against others on the calibration
# draw (tests/calibration/lessons.csv). Lessons and the labels they are held against are learned for longer than step 3.
LESSON = replace(SOFT_FUSED, imitation=0.9)
PATIENCE = 2  # times step 3's epochs


def _lesson(*, unlabelled: bool = False, shuffled: bool = False, **changes) -> Callable[..., Run]:
    """One RGB stream that starts from depth's weights learns soft labels, by default of step 2's whole network.

    With unlabelled pairs it takes about as many steps as without: fewer epochs of more clips.
    """

    def make(lab: Lab, two_stream: Run, teacher: Run | None = None) -> Run:
        train, clips = lab.profile.step3, len(lab.split.train)
        more = len(lab.split.unlabelled) if unlabelled else 0
        train = replace(train, epochs=max(1, round(PATIENCE * train.epochs * clips / (clips + more))))
        return distill_hallucination(lab, two_stream, distill=replace(LESSON, **changes), connection=None, train=train,
                                     teacher=teacher, unlabelled=unlabelled, shuffled=shuffled)  # fmt: skip

    return make


def _with_every_camera(lesson: Callable[..., Run]) -> Callable[..., Run]:
    """A lesson with unlabelled pairs of the test's camera, too, but of nobody in the test.

    Raises LabError where there are none.
    """

    def make(lab: Lab, *parents: Run) -> Run:
        ids, split = lab.clips.ids, lab.split
        if not ids:  # not prepared yet
            return lesson(lab, *parents)
        facts = dict(zip(ids, lab.clips.about(ids), strict=True))
        kept = {key: {facts[clip].get(key) for clip in split.test} - {None} for key in ("camera", "subject")}
        more = [clip for clip, about in facts.items() if about.get("split") == UNLABELLED_PART
                and about.get("camera") in kept["camera"] and about.get("subject") not in kept["subject"]]  # fmt: skip
        if {*more} <= {*split.unlabelled}:
            fix = "ask by a protocol that keeps a camera for the test, as cross-view does, of a set with such pairs"
            raise LabError.mismatch(lab.root, "unlabelled pairs of a camera kept for the test", "none", fix)
        pairs = tuple(sorted({*split.unlabelled, *more}))
        return lesson(replace(lab, split=replace(split, unlabelled=pairs)), *parents)

    return make


TRAININGS: dict[str, Training] = {
    training.name: training
    for training in (
        # step 1
        Training("depth", partial(train_stream, modality="depth")),
        Training("rgb", partial(train_stream, modality="rgb")),
        Training("rgb_twin", partial(train_stream, modality="rgb", twin=1)),
        Training("flow", partial(train_stream, modality="flow")),
        Training("skeleton", partial(train_stream, modality="skeleton")),
        Training("layout", partial(train_stream, modality="layout")),
        # step 2
        Training("two_stream", train_two_stream, ("depth", "rgb")),
        Training("two_stream_unconnected", partial(train_two_stream, connection=None), ("depth", "rgb")),
        Training("inverted", train_two_stream, ("rgb", "depth")),
        Training("two_rgb_streams", train_two_stream, ("rgb_twin", "rgb")),
        Training("noise", measure_noise, ("two_stream",)),  # Table 3: nothing is trained
        # one stage (Hoffman et al.)
        Training("joint_features", _jointly("hallucination"), ("depth", "rgb")),
        Training("joint_soft_labels", _jointly("generalized"), ("depth", "rgb")),
        Training("joint_all", _jointly("distillation"), ("depth", "rgb")),
        # step 3; method: "whether row 10's teacher is row 8's or row 9's is unstated", row 8's is taken
        Training("features_unconnected", _distilled(None, objective="hallucination"), ("two_stream",)),
        Training("features", _distilled(objective="hallucination"), ("two_stream",)),
        Training("soft_labels", _distilled(objective="generalized"), ("two_stream",)),
        Training("hallucination", _distilled(), ("two_stream",)),
        Training("hallucination_unconnected", _distilled(None), ("two_stream",)),
        Training("inverted_hallucination", _distilled(), ("inverted",)),
        Training("undistilled", _distilled(objective="labels"), ("two_rgb_streams",)),
        # step 4
        Training("rgb_only", finetune_rgb_only, ("hallucination", "two_stream")),
        Training("inverted_only", finetune_rgb_only, ("inverted_hallucination", "inverted")),
        Training("rgb_only_undistilled", finetune_rgb_only, ("undistilled", "two_rgb_streams")),
        # depth's weights without its teaching
        Training("untaught", _distilled(objective="labels"), ("two_stream",)),
        Training("rgb_only_untaught", finetune_rgb_only, ("untaught", "two_stream")),
        # the same with optical flow in depth's place
        Training("two_stream_flow", train_two_stream, ("flow", "rgb")),
        Training("untaught_flow", _distilled(objective="labels"), ("two_stream_flow",)),
        Training("rgb_only_flow", finetune_rgb_only, ("untaught_flow", "two_stream_flow")),
        # other readings of what the paper leaves open
        Training("features_unconnected_row9", _distilled(None, objective="hallucination"), ("two_stream_unconnected",)),
        Training("joint_features_frozen", _jointly("hallucination", "frozen"), ("depth", "rgb")),
        Training("joint_soft_labels_frozen", _jointly("generalized", "frozen"), ("depth", "rgb")),
        Training("joint_all_frozen", _jointly("distillation", "frozen"), ("depth", "rgb")),
        Training("joint_features_weighted", _jointly("hallucination", "weighted"), ("depth", "rgb")),
        Training("joint_all_long", _jointly("distillation", stages=("step2", "step3", "step4")), ("depth", "rgb")),
        Training("target_alone", read_target_alone, ("two_stream",)),  # nothing is trained
        Training("inverted_target_alone", read_target_alone, ("inverted",)),
        Training("inverted_hallucination_rgb", _distilled(missing="target"), ("inverted",)),
        Training("inverted_only_rgb", finetune_rgb_only, ("inverted_hallucination_rgb", "inverted")),
        # row 13 out of chance: other signals or batch statistics, nothing is trained; and the released connection
        Training("ladder", read_ladder, ("hallucination", "hallucination_unconnected")),
        Training("two_stream_gated", partial(train_two_stream, connection="gated"), ("depth", "rgb")),
        Training("hallucination_gated", _distilled("gated"), ("two_stream_gated",)),
        # other systems: one stage, one RGB stream, several teachers
        Training("generalized", _student("generalized"), ("depth",)),
        Training("generalized_rgb", _student("generalized"), ("rgb_twin",)),
        Training("softened", _student("generalized", **TEMPERED), ("depth",)),
        Training("softened_rgb", _student("generalized", **TEMPERED), ("rgb_twin",)),
        Training("mars", _student("mars"), ("depth",)),
        Training("mars_rgb", _student("mars"), ("rgb_twin",)),
        Training("focal", _student("focal"), ("depth",)),
        Training("focal_rgb", _student("focal"), ("rgb_twin",)),
        Training("focal_several", _student("focal"), ("depth", "flow", "skeleton")),
        Training("ensemble_depth", _student("ensemble", **RADEVSKI_SETTINGS), ("rgb", "depth")),
        Training("ensemble_rgb", _student("ensemble", **RADEVSKI_SETTINGS), ("rgb", "rgb_twin")),
        Training("ensemble_uniform", _student("ensemble", **RADEVSKI_SETTINGS), RADEVSKI),
        Training("ensemble_sample", _student("ensemble", weighting="sample", **RADEVSKI_SETTINGS), RADEVSKI),
        Training("ensemble_dataset", _student("ensemble", weighting="dataset", **RADEVSKI_SETTINGS), RADEVSKI),
        Training("teachers", lambda lab, *runs: fuse_predictions(lab, runs), RADEVSKI),
        Training("teachers_depth", lambda lab, *runs: fuse_predictions(lab, runs), ("rgb", "depth")),
        # the lab's recipe: step 3 without connections, step 4 with them; then one part changed at a time
        Training("recipe", finetune_rgb_only, ("hallucination_unconnected", "two_stream")),
        Training("recipe_features", finetune_rgb_only, ("features_unconnected", "two_stream")),
        Training("soft_labels_unconnected", _distilled(None, objective="generalized"), ("two_stream",)),
        Training("recipe_soft_labels", finetune_rgb_only, ("soft_labels_unconnected", "two_stream")),
        Training("seen_start", _distilled(None, start="seen"), ("two_stream",)),
        Training("recipe_seen_start", finetune_rgb_only, ("seen_start", "two_stream")),
        Training("recipe_unconnected", partial(finetune_rgb_only, connection=None),
                 ("hallucination_unconnected", "two_stream")),
        Training("recipe_late_fusion", partial(finetune_rgb_only, connection=None),
                 ("hallucination_unconnected", "two_stream_unconnected")),
        Training("recipe_taught", partial(finetune_rgb_only, distill=SOFT_FUSED),
                 ("hallucination_unconnected", "two_stream")),
        Training("maps", _distilled(None, **MAPS), ("two_stream",)),
        Training("recipe_maps", finetune_rgb_only, ("maps", "two_stream")),
        # the lesson: soft labels of the fused network, with and without pairs that nobody labelled; and its controls
        Training("lesson_labels", _lesson(objective="labels"), ("two_stream",)),
        Training("lesson", _lesson(), ("two_stream",)),
        Training("lesson_unlabelled", _lesson(unlabelled=True), ("two_stream",)),
        Training("lesson_self", _lesson(), ("two_stream", "lesson_labels")),
        Training("lesson_self_unlabelled", _lesson(unlabelled=True), ("two_stream", "lesson_labels")),
        Training("lesson_shuffled", _lesson(shuffled=True), ("two_stream",)),
        Training("lesson_shuffled_unlabelled", _lesson(unlabelled=True, shuffled=True), ("two_stream",)),
        Training("lesson_seen_start", _lesson(unlabelled=True, start="seen"), ("two_stream",)),
        Training("lesson_rgb_twin", _lesson(objective="labels"), ("two_rgb_streams",)),
        Training("lesson_rgb_twin_rgb_only", finetune_rgb_only, ("lesson_rgb_twin", "two_rgb_streams")),
        Training("lesson_every_camera", _with_every_camera(_lesson(unlabelled=True)), ("two_stream",)),
        Training("lesson_self_every_camera", _with_every_camera(_lesson(unlabelled=True)),
                 ("two_stream", "lesson_labels")),
        Training("lesson_labels_rgb_only", finetune_rgb_only, ("lesson_labels", "two_stream")),
        Training("lesson_rgb_only", finetune_rgb_only, ("lesson_unlabelled", "two_stream")),
        Training("lesson_self_rgb_only", finetune_rgb_only, ("lesson_self_unlabelled", "two_stream")),
        Training("self_distilled", _distilled(None), ("two_stream", "two_rgb_streams")),  # the latter teaches
        Training("recipe_self", finetune_rgb_only, ("self_distilled", "two_stream")),
        Training("labels_seen_start", _distilled(objective="labels", start="seen"), ("two_rgb_streams",)),
        Training("recipe_labels", finetune_rgb_only, ("labels_seen_start", "two_rgb_streams")),
    )
}  # fmt: skip


# -- what text and code decide differently ---------------------------------------------------------


UNPREPARED = "clips not prepared yet"  # stands for the data in a run that cannot be named before they are


def _switched(point: Discrepancy) -> Training:
    """A training with one point of `discrepancies` decided otherwise; what it starts from stays as it is."""
    name, training = f"switch:{point.number}", TRAININGS[point.training]

    def make(lab: Lab, *parents: Run) -> Run:
        profile = point.otherwise(lab.profile)
        if profile.clips.stored_frames == lab.profile.clips.stored_frames:
            return training.make(replace(lab, profile=profile), *parents)
        folder = None if lab.root is None else store_path(lab.root, profile, lab.runs.root.parent)
        if lab.dry and not (folder and (folder / INDEX).exists()):
            return lab.runs.open(RunSpec(name.replace(":", "-"), {"seed": lab.seed}, UNPREPARED))
        if folder is None:
            fix = "make the lab with open_lab"
            raise LabError.mismatch(None, f"a data root to prepare clips from for {name}", "none", fix)
        clips = _prepared(lab.root, folder, profile.clips)
        split = find_dataset(lab.root).split(lab.split.name, clips)
        return training.make(replace(lab, clips=clips, split=split, profile=profile), *parents)

    return Training(name, make, training.parents)


@cache
def _prepared(root: Path, folder: Path, clips: ClipConfig) -> ClipStore:
    """Clips prepared otherwise; their files are looked at once in a process, for all protocols and seeds."""
    return prepare(root, folder, clips)


for point in DISCREPANCIES:  # what its pairs rest on: the training decided otherwise, and step 4 after it
    for _, name in point.switched:
        first, _, after_step4 = name.partition("-")
        step4 = Training(name, finetune_rgb_only, (first, "two_stream"))
        TRAININGS[name] = step4 if after_step4 else _switched(point)


MORE_PEOPLE = "_more_people"


def make(name: str, lab: Lab, made: dict[str, Run] | None = None) -> Run:
    """The run of a training, after those it starts from; with `lab.dry` nothing is trained.

    In `made` are the runs by name that a caller has made so far; these are added.
    """
    made = {} if made is None else made
    if name not in made:
        training = get_training(name)
        made[name] = training.make(lab, *(make(parent, lab, made) for parent in training.parents))
    return made[name]


def get_training(name: str) -> Training:
    """A training by name; LabError lists the names there are.

    With MORE_PEOPLE behind its name: what its network says of them; nothing is trained.
    """
    trained = name.removesuffix(MORE_PEOPLE)
    if trained != name:
        return Training(name, answer_more_people, (trained,))
    if name not in TRAININGS:
        raise LabError.mismatch(None, f"a training among {', '.join(TRAININGS)}", repr(name), "use one of them")
    return TRAININGS[name]
