"""What each training computes: its network, what is trained in it, its loss and its readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn
from torch.nn import functional as F

from .config import DistillConfig, ModelConfig
from .distillers import DISTILLERS, joint_terms, layers_needed
from .errors import LabError
from .feeds import Batch
from .fit import Task
from .lab import Lab
from .model import NUM_BLOCKS, Stream, StreamOutput, ThreeStreams, TwoStream, build_stream, freeze
from .roles import load_stream, modality_of, seeded_weights
from .runs import Run


def stream_task(lab: Lab, modality: str, twin: int) -> Task:
    """Step 1: a fresh stream on labels."""
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


def joint_task(
    title: str,
    source: tuple[Run, str],
    target: tuple[Run, str],
    model: ModelConfig,
    taught: tuple[Run, DistillConfig] | None,
) -> Task:
    """Steps 2 and 4: two streams as one network, by labels or, `taught`, by a network of step 2 as well."""
    pair = TwoStream(load_stream(*source), load_stream(*target), model.connection, model.connect_at)
    sees = modality_of(*target), modality_of(*source)
    teaching = None if taught is None else Teaching(*taught, replace(model, connection=None))

    def forward(network, batch, _=None):
        return network(*(batch[modality] for modality in sees))

    def losses(output, lesson, labels):
        if taught is None:
            return {"total": F.cross_entropy(output.logits.float(), labels)}
        return DISTILLERS[taught[1].objective](output, lesson, labels, taught[1])

    def read(batch):
        output = forward(pair, batch)
        return {"fused": output.logits, "source": output.source_logits, "target": output.target_logits}

    return Task(
        title=title,
        model=pair,
        trained={"source": pair.source, "target": pair.target},
        modalities=tuple(dict.fromkeys(sees + (() if teaching is None else teaching.sees))),
        forward=forward,
        losses=losses,
        read=read,
        teach=teaching,
        teachers=None if teaching is None else teaching.pair,
    )


def labels_task(student: Stream, modality: str) -> Task:
    """Step 3 without a teacher: the control."""
    return Task(
        title=f"step 3 {modality} on labels alone (control)",
        model=student,
        trained={"hallucination": student},
        modalities=(modality,),
        forward=lambda model, batch, _: model(batch[modality]).logits,
        losses=lambda logits, _, labels: {"total": F.cross_entropy(logits.float(), labels)},
        read=lambda batch: {"alone": student(batch[modality]).logits},
    )


def taught_task(teaching: Teaching, student: Stream, modalities: dict[str, str]) -> Task:
    """Step 3: the student receives its teacher's signals where they are connected."""
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


class Teaching:
    """What the frozen network of step 2 teaches about a batch; a call returns the teacher's `StreamOutput`.

    Only what the objective and the connections read is kept in it. "fused" logits are the whole
    network's. A teacher that is step 2's target keeps receiving the source's signals.
    """

    def __init__(self, two_stream: Run, distill: DistillConfig, model: ModelConfig):
        self.distill, self.connected = distill, model.connection is not None
        self._layers = layers_needed(distill)
        joined = ModelConfig(**two_stream.spec.config["model"])
        source, target = (freeze(load_stream(two_stream, role)) for role in ("source", "target"))
        self.pair = TwoStream(source, target, joined.connection, joined.connect_at)
        self._link = TwoStream(source, target, model.connection, model.connect_at)
        self.sees = tuple(modality_of(two_stream, role) for role in ("target", "source"))

    def __call__(self, batch: Batch) -> StreamOutput:
        target, source = (batch[modality] for modality in self.sees)
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


# -- other systems ---------------------------------------------------------------------------------


def one_stage_task(streams: Sequence[Stream], modalities: dict[str, str], distill: DistillConfig) -> Task:
    """Hoffman et al.: RGB, depth and hallucination at once; `streams` in that order."""
    three, objective = ThreeStreams(*streams), DISTILLERS[distill.objective]

    def forward(network, batch, _=None):
        return network(batch[modalities["rgb"]], batch[modalities["depth"]])

    def read(batch):
        logits = {role: output.logits for role, output in forward(three, batch).items()}
        fused = (logits["rgb"] + logits["hallucination"]) / 2
        return {"fused": fused, "alone": logits["hallucination"], "rgb": logits["rgb"], "depth": logits["depth"]}

    return Task(
        title=f"one stage, {distill.objective}",
        model=three,
        trained=dict(three.named_children()),
        modalities=tuple(modalities.values()),
        forward=forward,
        losses=lambda output, _, labels: joint_terms(output, objective, labels, distill),
        read=read,
    )


def student_task(
    lab: Lab, modality: str, teachers: Sequence[tuple[Stream, str, float]], distill: DistillConfig
) -> Task:
    """A fresh stream learns from frozen ones: each with what it sees and a factor on its logits."""
    with seeded_weights(lab, f"step1 {modality} 0"):
        student = build_stream(lab.profile.model, lab.num_classes, lab.profile.clips.num_frames)
    streams, sees, scales = zip(*teachers, strict=True)
    streams = nn.ModuleList(freeze(stream) for stream in streams)
    layers, several = layers_needed(distill), distill.objective in ("ensemble", "focal")
    if len(teachers) != 1 and not several:
        fix = "give one teacher, or use the objective ensemble or focal"
        raise LabError.mismatch(None, f"one teacher for {distill.objective}", len(teachers), fix)

    def teach(batch: Batch) -> StreamOutput | list[StreamOutput]:
        outputs = [_pruned(s(batch[m]), w, layers) for s, m, w in zip(streams, sees, scales, strict=True)]
        return outputs if several else outputs[0]

    return Task(
        title=f"{modality} learns {' + '.join(sees)} ({distill.objective})",
        model=student,
        trained={"stream": student},
        modalities=tuple(dict.fromkeys((modality, *sees))),
        forward=lambda model, batch, _: model(batch[modality]),
        losses=lambda output, lesson, labels: DISTILLERS[distill.objective](output, lesson, labels, distill),
        read=lambda batch: {"stream": student(batch[modality]).logits},
        teach=teach,
        teachers=streams,
    )


def _pruned(output: StreamOutput, weight: float, layers: tuple[int, ...]) -> StreamOutput:
    features = output.features if NUM_BLOCKS in layers else None
    return StreamOutput(output.logits * weight, (), features, (None, None, None, features))
