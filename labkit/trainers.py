"""The four training steps of the paper (section 3.2, supplement), and their controls without depth.

Step 1 trains a stream per modality, step 2 ties depth to RGB, step 3 teaches a hallucination stream
that sees RGB to behave as the depth stream, step 4 fine-tunes hallucination and RGB together. Each
function is "load the run if it exists, else train it". The controls of equal capacity and budget
without depth are the same functions given two RGB streams and labels alone.

What computes is imported where a training begins: to name a run, or to find it finished, needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final, Literal

from .clips import Batch, clip_seed
from .config import Connection, DistillConfig, ModelConfig, TrainConfig
from .errors import LabError
from .lab import Lab
from .runs import WEIGHTS, Run, of_role

if TYPE_CHECKING:
    from torch import Tensor

    from .model import Stream, StreamOutput, TwoStream

PROFILE: Final = "profile"  # stands for "the connection that the profile names"; None means no connection
ConnectionOrProfile = Connection | Literal["profile"] | None


def train_stream(lab: Lab, modality: str, *, twin: int = 0) -> Run:
    """Step 1: one stream on one modality, cross-entropy (rows 1 and 2 of Table 2).

    `twin` > 0 starts from other random weights: the second RGB stream of the control without depth.
    Reading: "stream".
    """
    train = lab.profile.step1
    config = {"model": asdict(lab.profile.model), "train": asdict(train),
              "modalities": {"stream": modality}, "twin": twin}  # fmt: skip
    run = lab.run("step1", config)
    if not lab.needs(run):
        return run
    from torch.nn.functional import cross_entropy

    from .fit import fit

    stream = new_stream(lab, f"step1 {modality} {twin}")
    return fit(
        run, lab, train,
        title=f"step 1 {modality}" + (f" (twin {twin})" if twin else ""),
        network=stream,
        trained={"stream": stream},
        forward=lambda batch, _: stream(batch[modality]).logits,
        loss=lambda logits, _, labels: {"total": cross_entropy(logits, labels)},
        read=lambda batch: {"stream": stream(batch[modality]).logits},
    )  # fmt: skip


def train_two_stream(lab: Lab, source: Run, target: Run, *, connection: ConnectionOrProfile = PROFILE) -> Run:
    """Step 2: source and target tied by connections, cross-entropy on the mean of their logits (rows 8, 9).

    `source` and `target` are runs of step 1: depth and RGB in the paper, RGB and depth in the
    inverted study of the supplement, two RGB streams in the control without depth.
    Readings: "fused", "source", "target" (which still receives the source's signal; rows 6 and 7).
    """
    return _two_streams(lab, "step2", (source, "stream"), (target, "stream"), lab.profile.step2, connection)


def distill_hallucination(
    lab: Lab, two_stream: Run, *, distill: DistillConfig | None = None, connection: ConnectionOrProfile = PROFILE,
    train: TrainConfig | None = None, teacher: Run | None = None, unlabelled: bool = False, shuffled: bool = False,
) -> Run:  # fmt: skip
    """Step 3: a stream that sees the target's modality learns to act as step 2's source (rows 10-14; eq. 7).

    It starts as a copy of its teacher (`distill.start`), which is frozen, batch statistics included.
    With connections the teacher's signals flow into it while it trains, so two readings are kept apart: "with_depth",
    an oracle that still receives them, by which the epoch is chosen, and "alone", the RGB-only figure. The objective
    "labels" has no teacher: the control trained on labels for as long. `train` stands in for the profile's step 3.

    Ours, not the paper's: `teacher`, another finished run, teaches in step 2's place, without connections;
    `unlabelled` clips, of which only a teacher speaks, train too; and `shuffled`, the control in which each
    clip is given the logits of another clip. Raises LabError where unlabelled clips or their teacher lack.
    """
    distill, train = distill or lab.profile.distill, train or lab.profile.step3
    untaught = distill.objective == "labels"
    if untaught and unlabelled:
        raise LabError.mismatch(None, "a teacher for clips without labels", "none", "choose another objective")
    model = _with_connection(lab, None if untaught or teacher else connection)
    seen = "target" if distill.missing == "source" else "source"
    sees, by = modality_of(two_stream, seen), teacher or two_stream
    config = {"model": asdict(model), "train": asdict(train), "distill": asdict(distill),
              "modalities": {"teacher": modality_of(by, role_of_single(by) or distill.missing), "hallucination": sees},
              **({"shuffled": True} if shuffled else {})}  # fmt: skip
    run = lab.run("step3", config, (two_stream, *([teacher] if teacher else [])), unlabelled=unlabelled)
    if not lab.needs(run):
        return run
    from .fit import fit
    from .losses import get_objective
    from .model import at_connections

    objective = get_objective(distill.objective)
    hallucination = load_stream(two_stream, distill.missing if distill.start == "teacher" else seen)
    teach = None if untaught else Teacher(by, distill, connected=model.connection is not None)
    lesson = _of_others if shuffled else lambda taught: taught

    def forward(batch: Batch, taught: StreamOutput | None) -> StreamOutput:
        injected = at_connections(taught.signals, model.connection, model.connect_at) if taught else ()
        return hallucination(batch[sees], *injected)

    def read(batch: Batch) -> dict:
        alone = {"alone": hallucination(batch[sees]).logits}
        if teach is None or not teach.connected:
            return alone
        return {"with_depth": forward(batch, teach(batch)).logits, **alone}

    return fit(
        run, lab, train,
        title=f"step 3 {sees} " + (f"learns {' + '.join(teach.sees)}" if teach else "on labels alone (control)"),
        network=hallucination,
        trained={"hallucination": hallucination},
        forward=forward,
        loss=lambda output, taught, labels: objective(output, lesson(taught), labels, distill),
        read=read,
        teach=teach,
        teachers=teach.network if teach else None,
        unlabelled=unlabelled,
    )  # fmt: skip


def finetune_rgb_only(
    lab: Lab,
    hallucination: Run,
    two_stream: Run,
    *,
    connection: ConnectionOrProfile = PROFILE,
    distill: DistillConfig | None = None,
) -> Run:
    """Step 4: the hallucination of step 3 takes its teacher's place in step 2's network (row 15).

    Both see the modality that is left, everything is trained, no depth is read. With `distill`, not
    the paper's, step 2's network goes on teaching: the fused logits learn its fused logits by an
    objective on logits ("generalized"); then depth is read in training, never at test.
    Readings: "fused", "source" (the hallucination in the paper), "target".
    """
    streams = {"source": (two_stream, "source"), "target": (two_stream, "target")}
    streams[hallucination.spec.config["distill"]["missing"]] = (hallucination, "hallucination")
    taught = None if distill is None else (two_stream, distill)
    return _two_streams(lab, "step4", streams["source"], streams["target"], lab.profile.step4, connection, taught)


def _two_streams(
    lab: Lab,
    step: str,
    source: tuple[Run, str],
    target: tuple[Run, str],
    train: TrainConfig,
    connection: ConnectionOrProfile,
    taught: tuple[Run, DistillConfig] | None = None,
) -> Run:
    """Steps 2 and 4: two streams of runs, each with its role there, as one network."""
    target_sees, source_sees = modality_of(*target), modality_of(*source)
    model = _with_connection(lab, connection)
    config = {"model": asdict(model), "train": asdict(train),
              "modalities": {"source": source_sees, "target": target_sees}}  # fmt: skip
    if taught is not None:
        teachers = {f"teacher {role}": modality_of(taught[0], role) for role in ("source", "target")}
        config |= {"modalities": {**config["modalities"], **teachers}, "distill": asdict(taught[1])}
    run = lab.run(step, config, (source[0], target[0], *(taught[:1] if taught else ())))
    if not lab.needs(run):
        return run
    from .fit import fit
    from .losses import get_objective
    from .model import TwoStream

    pair = TwoStream(load_stream(*source), load_stream(*target), model.connection, model.connect_at)
    teacher = None if taught is None else Teacher(*taught)
    distill = DistillConfig(objective="labels") if taught is None else taught[1]
    objective = get_objective(distill.objective)

    return fit(
        run, lab, train,
        title=f"{step[:4]} {step[4]} {source_sees} + {target_sees}",
        network=pair,
        trained={"source": pair.source, "target": pair.target},
        forward=lambda batch, _: pair(batch[target_sees], batch[source_sees]),
        loss=lambda output, said, labels: objective(output, said, labels, distill),
        read=read_both(pair, target_sees, source_sees),
        teach=teacher,
        teachers=teacher.network if teacher else None,
    )  # fmt: skip


def read_both(pair: TwoStream, target_sees: str, source_sees: str) -> Callable[[Batch], dict[str, Tensor]]:
    """A batch to the logits of two tied streams: "fused", "source", "target"."""

    def read(batch: Batch) -> dict[str, Tensor]:
        output = pair(batch[target_sees], batch[source_sees])
        return {"fused": output.logits, "source": output.source_logits, "target": output.target_logits}

    return read


def _with_connection(lab: Lab, connection: ConnectionOrProfile) -> ModelConfig:
    return lab.profile.model if connection == PROFILE else replace(lab.profile.model, connection=connection)


class Teacher:
    """A frozen network that teaches: `teacher(batch)` is the `StreamOutput` to learn from.

    That is the stream of step 2's network that is missing at test, or the one stream of any other run. Where it is
    step 2's target it keeps receiving the source's signals. "fused" logits are the whole network's. Of its signals
    and maps only what connections and objective read is handed over.
    """

    def __init__(self, run: Run, distill: DistillConfig, *, connected: bool = False):
        from .losses import LOGITS_ALONE
        from .model import freeze

        self.distill, self.connected = distill, connected
        self._layers = distill.feature_layers if distill.objective not in LOGITS_ALONE else ()
        single = role_of_single(run)
        self.sees = tuple(modality_of(run, role) for role in ((single,) if single else ("target", "source")))
        self.network = freeze(load_network(run))

    def __call__(self, batch: Batch) -> StreamOutput:
        output = self._output(*(batch[modality] for modality in self.sees))
        signals = output.signals if self.connected else ()
        read = tuple(maps if block in self._layers else None for block, maps in enumerate(output.blocks, 1))
        return output._replace(signals=signals, blocks=read)  # type: ignore[arg-type]  # None where nothing reads maps

    def _output(self, target: Tensor, source: Tensor | None = None) -> StreamOutput:
        if source is None:
            return self.network(target)
        if self.distill.missing == "source" and self.distill.teacher_logits == "stream":
            return self.network.get_submodule("source")(source)
        both = self.network(target, source)
        output = getattr(both, self.distill.missing)
        return output._replace(logits=both.logits) if self.distill.teacher_logits == "fused" else output


def _of_others(taught: StreamOutput) -> StreamOutput:
    """The lesson in which each clip is given the logits of another clip of its batch."""
    return taught._replace(logits=taught.logits.roll(1, 0))


def role_of_single(run: Run) -> str | None:
    """The role of a run's one stream; None for a network of two."""
    roles = run.spec.config["modalities"]
    return next((role for role in ("hallucination", "stream") if role in roles), None)


# -- streams of runs ---------------------------------------------------------------------------------


def new_stream(lab: Lab, purpose: str) -> Stream:
    """A stream as the profile says; its initial weights are a function of (seed, purpose)."""
    import torch

    from .model import build_stream

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(clip_seed(lab.seed, "weights", 0, purpose))
        return build_stream(lab.profile.model, lab.num_classes, lab.profile.clips.num_frames)


def load_stream(run: Run, role: str) -> Stream:
    """A stream of a finished run by its role there: "stream", "source", "target" or "hallucination"."""
    from .model import build_stream

    weights, _ = run.load_tensors(WEIGHTS)
    chosen = of_role(weights, role)
    if not chosen:
        roles = ", ".join(sorted({name.partition(".")[0] for name in weights}))
        raise LabError.mismatch(run.path / WEIGHTS, f"a stream in the role {role!r}", roles, "name one of these roles")
    config = run.spec.config
    model = replace(ModelConfig(**config["model"]), pretrained=False)
    stream = build_stream(model, config["classes"], config["clips"]["num_frames"])
    stream.load_state_dict(chosen)
    return stream


def load_network(run: Run) -> Stream | TwoStream:
    """The network of a finished run: its one stream, or source and target tied as they were trained."""
    from .model import TwoStream

    if single := role_of_single(run):
        return load_stream(run, single)
    model = run.spec.config["model"]
    return TwoStream(load_stream(run, "source"), load_stream(run, "target"), model["connection"], model["connect_at"])


def modality_of(run: Run, role: str) -> str:
    """What the stream in that role sees: "rgb", "depth", ...; LabError for a run without that role."""
    roles = run.spec.config["modalities"]
    if role not in roles:
        raise LabError.mismatch(run.path, f"a {role} stream in this run", ", ".join(roles), "give another step's run")
    return roles[role]
