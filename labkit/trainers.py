"""The four training steps of the paper (section 3.4, supplement), and their controls without depth.

Step 1 trains a stream per modality, step 2 ties depth to RGB, step 3 teaches a hallucination stream
that sees RGB to behave as the depth stream, step 4 fine-tunes hallucination and RGB together. Each
function is "load the run if it exists, else train it". The controls of equal capacity and budget
without depth are the same functions given two RGB streams and labels alone.

What computes is imported where a task is made: to name a run, or to find it finished, needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from .config import DistillConfig, ModelConfig, TrainConfig
from .errors import LabError
from .lab import Lab
from .roles import load_stream, modality_of
from .runs import Run, RunSpec

if TYPE_CHECKING:
    from .fit import Task

PROFILE = "profile"  # stands for "the connection that the profile names"; None means no connection


def train_stream(lab: Lab, modality: str, *, twin: int = 0) -> Run:
    """Step 1: one stream on one modality, cross-entropy (rows 1 and 2 of Table 2).

    `twin` > 0 starts from other random weights: the second RGB stream of the control without depth.
    Reading: "stream".
    """
    config = {"model": asdict(lab.profile.model), "train": asdict(lab.profile.step1),
              "modalities": {"stream": modality}, "twin": twin}  # fmt: skip

    def task() -> Task:
        from .tasks import stream_task

        return stream_task(lab, modality, twin)

    return trained(lab, lab.spec("step1", config), lab.profile.step1, task)


def train_two_stream(lab: Lab, source: Run, target: Run, *, connection: str | None = PROFILE) -> Run:
    """Step 2: source and target tied by connections, cross-entropy on the mean of their logits (rows 8, 9).

    `source` and `target` are runs of step 1: depth and RGB in the paper, RGB and depth in the
    inverted study of the supplement, two RGB streams in the control without depth.
    Readings: "fused", "source", "target" (which still receives the source's signal; rows 6 and 7).
    """
    return _joint(lab, "step2", (source, "stream"), (target, "stream"), lab.profile.step2, connection)


def finetune_rgb_only(
    lab: Lab,
    hallucination: Run,
    two_stream: Run,
    *,
    connection: str | None = PROFILE,
    distill: DistillConfig | None = None,
    train: TrainConfig | None = None,
) -> Run:
    """Step 4: the hallucination of step 3 takes its teacher's place in step 2's network (row 15).

    Both see the modality that is left, everything is trained, no depth is read. With `distill`, not
    the paper's, step 2's network goes on teaching: the fused logits learn its fused logits by an
    objective on logits ("generalized"); then depth is read in training, never at test.
    `train` stands in for the profile's step 4. Readings: "fused", "source" (the hallucination in
    the paper), "target".
    """
    streams = {"source": (two_stream, "source"), "target": (two_stream, "target")}
    streams[hallucination.spec.config["distill"]["missing"]] = (hallucination, "hallucination")
    taught = None if distill is None else (two_stream, distill)
    return _joint(lab, "step4", *streams.values(), train or lab.profile.step4, connection, taught)


def _joint(
    lab: Lab,
    step: str,
    source: tuple[Run, str],
    target: tuple[Run, str],
    train: TrainConfig,
    connection: str | None,
    taught: tuple[Run, DistillConfig] | None = None,
) -> Run:
    modalities = {"source": modality_of(*source), "target": modality_of(*target)}
    model = _with_connection(lab, connection)
    config = {"model": asdict(model), "train": asdict(train), "modalities": modalities}
    parents = (source[0], target[0])
    if taught is not None:
        teachers = {f"teacher {role}": modality_of(taught[0], role) for role in ("source", "target")}
        config |= {"modalities": {**modalities, **teachers}, "distill": asdict(taught[1])}
        parents = (*parents, taught[0])
    title = f"{step[:4]} {step[4]} {modalities['source']} + {modalities['target']}"

    def task() -> Task:
        from .tasks import joint_task

        return joint_task(title, source, target, model, taught)

    return trained(lab, lab.spec(step, config, parents), train, task)


def distill_hallucination(
    lab: Lab,
    two_stream: Run,
    *,
    distill: DistillConfig | None = None,
    connection: str | None = PROFILE,
    train: TrainConfig | None = None,
) -> Run:
    """Step 3: a stream that sees the target's modality learns to act as step 2's source (rows 10-14).

    It starts as a copy of its teacher (`distill.start`), which is frozen, batch statistics included.
    With connections the teacher's signals flow into the hallucination while it trains, so two readings
    are kept apart: "with_depth", an oracle that still receives them, and "alone", the honest RGB-only
    figure. Without connections there is only "alone". Where the epoch is chosen on validation clips,
    that is done on the stream as trained, on the first of them.

    The objective "labels" has no teacher at all: the control trained on labels for as long. `train`
    stands in for the profile's step 3.
    """
    distill, train = distill or lab.profile.distill, train or lab.profile.step3
    taught = distill.objective != "labels"
    model = _with_connection(lab, connection if taught else None)
    seen = "target" if distill.missing == "source" else "source"
    modalities = {"teacher": modality_of(two_stream, distill.missing), "hallucination": modality_of(two_stream, seen)}
    config = {"model": asdict(model), "train": asdict(train), "modalities": modalities, "distill": asdict(distill)}

    def task() -> Task:
        from .tasks import Teaching, labels_task, taught_task

        student = load_stream(two_stream, distill.missing if distill.start == "teacher" else seen)
        if not taught:
            return labels_task(student, modalities["hallucination"])
        return taught_task(Teaching(two_stream, distill, model), student, modalities)

    return trained(lab, lab.spec("step3", config, (two_stream,)), train, task)


def _with_connection(lab: Lab, connection: str | None) -> ModelConfig:
    return lab.profile.model if connection == PROFILE else replace(lab.profile.model, connection=connection)


def trained(lab: Lab, spec: RunSpec, config: TrainConfig, task: Callable[[], Task]) -> Run:
    """The finished run of that specification, trained now if it is not there yet."""

    def work(run: Run) -> None:
        from .fit import fit

        fit(run, task(), lab, config)

    return obtain(lab, spec, work)


def obtain(lab: Lab, spec: RunSpec, work: Callable[[Run], None]) -> Run:
    """The finished run of that specification, worked out now if it is not there yet; a failure is noted in it."""
    run = lab.runs.open(spec)
    if lab.dry or (run.done and not run.checkpoints()):
        return run
    from accelerate import PartialState

    from .processes import owned

    main = PartialState().is_main_process
    with owned(run) as missing:
        if missing:
            try:
                work(run)
            except LabError as error:
                if main:
                    run.set_state("failed", reason=str(error))
                raise
        if main:
            run.delete(*run.checkpoints())
    return run
