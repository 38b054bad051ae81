"""The four training steps of the paper (section 3.4, supplement), and their controls without depth.

Step 1 trains a stream per modality, step 2 ties depth to RGB, step 3 teaches a hallucination stream
that sees RGB to behave as the depth stream, step 4 fine-tunes hallucination and RGB together. Each
function is "load the run if it exists, else train it". The controls of equal capacity and budget
without depth are the same functions given two RGB streams and labels alone.

What computes is imported where a task is made: to name a run, or to find it finished, needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from .clips import clip_seed
from .config import DistillConfig, ModelConfig, TrainConfig
from .errors import LabError
from .lab import Lab
from .runs import WEIGHTS, Run, RunSpec, of_role

if TYPE_CHECKING:
    from .feeds import Batch
    from .fitting import Task
    from .model import Stream, StreamOutput

PROFILE = "profile"  # stands for "the connection that the profile names"; None means no connection


def train_stream(lab: Lab, modality: str, *, twin: int = 0) -> Run:
    """Step 1: one stream on one modality, cross-entropy (rows 1 and 2 of Table 2).

    `twin` > 0 starts from other random weights: the second RGB stream of the control without depth.
    Reading: "stream".
    """
    config = {"model": asdict(lab.profile.model), "train": asdict(lab.profile.step1),
              "modalities": {"stream": modality}, "twin": twin}  # fmt: skip

    def task() -> Task:
        from torch.nn import functional as F

        from .fitting import Task
        from .model import build_stream

        with seeded_weights(lab, f"step1 {modality} {twin}"):
            stream = build_stream(lab.profile.model, lab.num_classes, lab.profile.clips.num_frames)
        return Task(
            title=f"step 1 {modality}" + (f" (twin {twin})" if twin else ""),
            model=stream,
            trained={"stream": stream},
            modalities=(modality,),
            forward=lambda model, batch, _: model(batch[modality]).logits,
            losses=lambda logits, _, labels: {"total": F.cross_entropy(logits.float(), labels)},
            read=lambda batch: {"stream": stream(batch[modality]).logits},
        )

    return obtain(lab, lab.spec("step1", config), lab.profile.step1, task)


def train_two_stream(lab: Lab, source: Run, target: Run, *, connection: str | None = PROFILE) -> Run:
    """Step 2: source and target tied by connections, cross-entropy on the mean of their logits (rows 8, 9).

    `source` and `target` are runs of step 1: depth and RGB in the paper, RGB and depth in the
    inverted study of the supplement, two RGB streams in the control without depth.
    Readings: "fused", "source", "target" (which still receives the source's signal; rows 6 and 7).
    """
    return _joint(lab, "step2", (source, "stream"), (target, "stream"), lab.profile.step2, connection)


def finetune_rgb_only(
    lab: Lab, hallucination: Run, two_stream: Run, *, connection: str | None = PROFILE
) -> Run:
    """Step 4: the hallucination of step 3 takes its teacher's place in step 2's network (row 15).

    Both see the modality that is left, everything is trained, no depth is read. Readings: "fused",
    "source" (the hallucination in the paper), "target".
    """
    streams = {"source": (two_stream, "source"), "target": (two_stream, "target")}
    streams[hallucination.spec.config["distill"]["missing"]] = (hallucination, "hallucination")
    return _joint(lab, "step4", *streams.values(), lab.profile.step4, connection)


def _joint(
    lab: Lab,
    step: str,
    source: tuple[Run, str],
    target: tuple[Run, str],
    train: TrainConfig,
    connection: str | None,
) -> Run:
    modalities = {"source": modality_of(*source), "target": modality_of(*target)}
    model = _with_connection(lab, connection)
    config = {"model": asdict(model), "train": asdict(train), "modalities": modalities}

    def task() -> Task:
        from torch.nn import functional as F

        from .fitting import Task
        from .model import TwoStream

        pair = TwoStream(load_stream(*source), load_stream(*target), model.connection, model.connect_at)

        def forward(network, batch, _=None):
            return network(batch[modalities["target"]], batch[modalities["source"]])

        def read(batch):
            output = forward(pair, batch)
            return {"fused": output.logits, "source": output.source_logits, "target": output.target_logits}

        return Task(
            title=f"{step[:4]} {step[4]} {modalities['source']} + {modalities['target']}",
            model=pair,
            trained={"source": pair.source, "target": pair.target},
            modalities=tuple(dict.fromkeys(modalities.values())),
            forward=forward,
            losses=lambda output, _, labels: {"total": F.cross_entropy(output.logits.float(), labels)},
            read=read,
        )

    return obtain(lab, lab.spec(step, config, (source[0], target[0])), train, task)


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
    modalities = {
        "teacher": modality_of(two_stream, distill.missing),
        "hallucination": modality_of(two_stream, seen),
    }
    config = {
        "model": asdict(model),
        "train": asdict(train),
        "modalities": modalities,
        "distill": asdict(distill),
    }

    def task() -> Task:
        student = load_stream(two_stream, distill.missing if distill.start == "teacher" else seen)
        if not taught:
            return _labels_task(student, modalities["hallucination"])
        return _taught_task(_Teaching(two_stream, distill, model), student, modalities)

    return obtain(lab, lab.spec("step3", config, (two_stream,)), train, task)


def _labels_task(student: Stream, modality: str) -> Task:
    from torch.nn import functional as F

    from .fitting import Task

    return Task(
        title=f"step 3 {modality} on labels alone (control)",
        model=student,
        trained={"hallucination": student},
        modalities=(modality,),
        forward=lambda model, batch, _: model(batch[modality]).logits,
        losses=lambda logits, _, labels: {"total": F.cross_entropy(logits.float(), labels)},
        read=lambda batch: {"alone": student(batch[modality]).logits},
    )


def _taught_task(teaching: _Teaching, student: Stream, modalities: dict[str, str]) -> Task:
    from .distillers import DISTILLERS
    from .fitting import Task

    distill, seen = teaching.distill, modalities["hallucination"]
    objective = DISTILLERS[distill.objective]

    def read(batch):
        alone = {"alone": student(batch[seen]).logits}
        if not teaching.connected:
            return alone
        return {"with_depth": student(batch[seen], *teaching.injected(teaching(batch))).logits, **alone}

    return Task(
        title=f"step 3 {seen} learns {modalities['teacher']}",
        model=student,
        trained={"hallucination": student},
        modalities=tuple(dict.fromkeys(modalities.values())),
        forward=lambda model, batch, lesson: model(batch[seen], *teaching.injected(lesson)),
        losses=lambda output, lesson, labels: objective(output, lesson, labels, distill),
        read=read,
        teach=teaching,
        teachers=teaching.pair,
    )


class _Teaching:
    """What the frozen network of step 2 teaches about a batch; a call returns the teacher's `StreamOutput`.

    Only what the objective and the connections read is kept in it. "fused" logits are the whole
    network's. A teacher that is step 2's target keeps receiving the source's signals.
    """

    def __init__(self, two_stream: Run, distill: DistillConfig, model: ModelConfig):
        from .distillers import layers_needed
        from .model import TwoStream, freeze

        self.distill, self.connected = distill, model.connection is not None
        self._layers = layers_needed(distill)
        joined = ModelConfig(**two_stream.spec.config["model"])
        source, target = (freeze(load_stream(two_stream, role)) for role in ("source", "target"))
        self.pair = TwoStream(source, target, joined.connection, joined.connect_at)
        self._link = TwoStream(source, target, model.connection, model.connect_at)
        self._sees = [modality_of(two_stream, role) for role in ("target", "source")]

    def __call__(self, batch: Batch) -> StreamOutput:
        target, source = (batch[modality] for modality in self._sees)
        if self.distill.missing == "source" and self.distill.teacher_logits == "stream":
            output = self.pair.source(source)
        else:
            both = self.pair(target, source)
            output = getattr(both, self.distill.missing)
            output = output._replace(logits=both.logits) if self.distill.teacher_logits == "fused" else output
        return output._replace(
            signals=output.signals if self.connected else (),
            blocks=tuple(maps if block in self._layers else None for block, maps in enumerate(output.blocks, 1)),
            features=output.features if len(output.blocks) in self._layers else None,
        )

    def injected(self, lesson: StreamOutput) -> tuple:
        """What the student's forward takes beside its clip."""
        return self._link.injected(lesson.signals)


# -- shared ----------------------------------------------------------------------------------------


def load_stream(run: Run, role: str) -> Stream:
    """A stream of a finished run by its role: "stream", "source", "target" or "hallucination"."""
    from .model import build_stream

    weights, _ = run.load_tensors(WEIGHTS)
    chosen = of_role(weights, role)
    if not chosen:
        roles = ", ".join(sorted({name.partition(".")[0] for name in weights}))
        raise LabError.mismatch(
            run.path / WEIGHTS, f"a stream in the role {role!r}", roles, "name one of these roles"
        )
    config = run.spec.config
    model = replace(ModelConfig(**config["model"]), pretrained=False)
    stream = build_stream(model, config["classes"], config["clips"]["num_frames"])
    stream.load_state_dict(chosen)
    return stream


def modality_of(run: Run, role: str) -> str:
    """What the stream in that role sees: "rgb", "depth", ..."""
    return run.spec.config["modalities"][role]


@contextmanager
def seeded_weights(lab: Lab, purpose: str) -> Iterator[None]:
    """Initial weights as a function of (seed, purpose); the surrounding generator is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(clip_seed(lab.seed, "weights", 0, purpose))
        yield


def _with_connection(lab: Lab, connection: str | None) -> ModelConfig:
    return lab.profile.model if connection == PROFILE else replace(lab.profile.model, connection=connection)


def obtain(lab: Lab, spec: RunSpec, config: TrainConfig, task: Callable[[], Task]) -> Run:
    """The finished run of that specification, trained now if it is not there yet."""
    run = lab.runs.open(spec)
    if lab.dry or (run.done and not run.checkpoints()):
        return run
    from accelerate import PartialState

    from .fitting import fit

    main = PartialState().is_main_process
    with run.lock() if main else nullcontext():
        if not run.done:
            try:
                fit(run, task(), lab, config)
            except LabError as error:
                run.set_state("failed", reason=str(error))
                raise
        if main:
            run.delete(*run.checkpoints())
    return run
