"""The other systems: streams trained together, students of several teachers, and teachers' ensembles.

The same streams, data and budget as the paper's steps; only what is learned from whom differs. As in
`trainers`, what computes is imported where a training begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from ...clips import Batch, Batches
from ...config import DistillConfig, TrainConfig
from ...errors import LabError
from ...lab import Lab
from ...runs import PREDICTIONS, RESULT, Run, making
from ...trainers import load_stream, modality_of, new_stream

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, ModuleDict

    from ...model import Stream, StreamOutput

HOFFMAN_FACTOR = 10.0  # of the feature term over the largest cross-entropy; Hoffman et al. (CVPR 2016)
BALANCED_ON = 64  # training clips


def train_jointly(
    lab: Lab,
    depth: Run,
    rgb: Run,
    *,
    distill: DistillConfig,
    train: TrainConfig | None = None,
    reading: Literal["frozen", "weighted"] | None = None,
) -> Run:
    """Hoffman et al. (CVPR 2016; rows 3-5): RGB, depth and hallucination in one stage, no connections.

    `depth` and `rgb` are runs of step 1; the hallucination starts from depth. `distill.objective` is
    what it learns from depth: "hallucination" (row 3), "generalized" (4) or "distillation" (5); the
    cross-entropies beside it are `system_losses.joint_terms`. `train` stands in for step 3's budget.

    `reading` is another way to read them. "frozen": of the depth stream only the classifier learns; up to the
    layer of eq. 3 it stays the teacher that step 1 made (Hoffman et al. set its learning rate to 0 there).
    "weighted": their weights. RGB + hallucination counts twice, and the feature term starts at ten times the
    largest cross-entropy in place of `distill.joint_weight` times its size. Raises LabError where the objective
    has other terms than eq. 3.

    Readings: "fused" (RGB + hallucination, RGB only, as in the paper), "alone", "rgb", "depth".
    """
    if reading == "weighted" and distill.objective != "hallucination":
        fix = "their weights are those of row 3"
        raise LabError.mismatch(None, "the objective hallucination", distill.objective, fix)
    train, rgb_sees, depth_sees = train or lab.profile.step3, modality_of(rgb, "stream"), modality_of(depth, "stream")
    modalities = {"rgb": rgb_sees, "depth": depth_sees, "hallucination": rgb_sees}
    config = {"model": asdict(lab.profile.model), "train": asdict(train), "modalities": modalities,
              "distill": asdict(distill), **({"reading": reading} if reading else {})}  # fmt: skip
    run = lab.run("joint", config, (depth, rgb))
    if not lab.needs(run):
        return run
    streams = {"rgb": load_stream(rgb, "stream"), "depth": load_stream(depth, "stream"),
               "hallucination": load_stream(depth, "stream")}  # fmt: skip
    return _fit_jointly(run, lab, train, streams, modalities, distill, reading)


def _fit_jointly(
    run: Run, lab: Lab, train: TrainConfig, trained: dict, modalities: dict[str, str], distill: DistillConfig,
    reading: str | None,
) -> Run:  # fmt: skip
    from torch.nn import ModuleDict

    from ...fit import fit
    from ...losses import OBJECTIVES
    from ...model import freeze
    from .system_losses import joint_terms

    streams = ModuleDict(trained)
    if reading == "frozen":
        freeze(streams["depth"]).backbone.fc.requires_grad_(True)

    def forward(batch: Batch, _=None) -> dict[str, StreamOutput]:
        return {role: stream(batch[modalities[role]]) for role, stream in streams.items()}

    def loss(outputs, _, labels) -> dict[str, Tensor]:
        return joint_terms(outputs, OBJECTIVES[distill.objective], labels, distill)

    named = {"frozen": ", depth frozen", "weighted": ", Hoffman's weights"}.get(reading, "")
    return fit(
        run, lab, train,
        title=f"one stage, {distill.objective}{named}",
        network=streams,
        trained=trained,
        forward=forward,
        loss=_with_their_weights(lab, streams, forward, loss) if reading == "weighted" else loss,
        read=read_jointly(streams, modalities),
    )  # fmt: skip


def read_jointly(streams: ModuleDict, modalities: dict[str, str]) -> Callable[[Batch], dict[str, Tensor]]:
    """A batch to the logits of the three streams and of RGB with hallucination."""

    def read(batch: Batch) -> dict[str, Tensor]:
        logits = {role: stream(batch[modalities[role]]).logits for role, stream in streams.items()}
        fused = (logits["rgb"] + logits["hallucination"]) / 2
        return {"fused": fused, "alone": logits["hallucination"], "rgb": logits["rgb"], "depth": logits["depth"]}

    return read


def _with_their_weights(lab: Lab, streams, forward: Callable, loss: Callable) -> Callable:
    """The plain loss with its terms summed as Hoffman et al. do, balanced on training clips before the first step."""
    import torch

    from ...fit import testing

    ids = list(lab.split.train)[:: max(1, len(lab.split.train) // BALANCED_ON)][:BALANCED_ON]
    batch = Batches(lab, lab.split.train).view(ids)
    with testing(streams), torch.inference_mode():
        start = {name: float(term) for name, term in loss(forward(batch), None, batch.labels).items()}
    balance = HOFFMAN_FACTOR * max(_cross_entropies(start).values()) / start["hall"]

    def weighted(outputs, _, labels) -> dict[str, Tensor]:
        terms = loss(outputs, None, labels)
        total = sum(_cross_entropies(terms).values()) + terms["rgb+hallucination"] + balance * terms["hall"]
        return {**terms, "total": total}

    return weighted


def _cross_entropies(terms: dict) -> dict:
    return {name: term for name, term in terms.items() if name not in ("hall", "total")}


def distill_stream(lab: Lab, teachers: Sequence[Run], *, distill: DistillConfig) -> Run:
    """One stage: a fresh RGB stream learns from frozen single-stream teachers, each on its own modality.

    `teachers` are runs of step 1. The student's start and budget are those of RGB alone (row 2), which is
    thereby its control. "ensemble" is Radevski et al. (2023), "focal"
    FCKD-style, "generalized" eq. 5 alone, "mars" MARS. Reading: "stream".
    """
    train = lab.profile.step1
    several = distill.objective in ("ensemble", "focal")
    if len(teachers) != 1 and not several:
        fix = "give one teacher, or use the objective ensemble or focal"
        raise LabError.mismatch(None, f"one teacher for {distill.objective}", len(teachers), fix)
    sees = [modality_of(run, "stream") for run in teachers]
    config = {"model": asdict(lab.profile.model), "train": asdict(train), "distill": asdict(distill),
              "modalities": {**{f"teacher {n}": name for n, name in enumerate(sees)}, "stream": "rgb"}}  # fmt: skip
    run = lab.run("student", config, tuple(teachers))
    if not lab.needs(run):
        return run
    from torch.nn import ModuleList

    from ...fit import fit
    from ...model import freeze
    from .system_losses import SYSTEM_OBJECTIVES

    scales = (teacher_weights(lab, teachers, distill) * len(teachers)).tolist()
    frozen = ModuleList(freeze(load_stream(one, "stream")) for one in teachers)
    student, objective = new_stream(lab, "step1 rgb 0"), SYSTEM_OBJECTIVES[distill.objective]
    maps = distill.objective in ("focal", "mars")

    def teach(batch: Batch) -> StreamOutput | list[StreamOutput]:
        outputs = [_pruned(one(batch[name]), scale, maps)
                   for one, name, scale in zip(frozen, sees, scales, strict=True)]  # fmt: skip
        return outputs if several else outputs[0]

    return fit(
        run, lab, train,
        title=f"rgb learns {' + '.join(sees)} ({distill.objective})",
        network=student,
        trained={"stream": student},
        forward=lambda batch, _: student(batch["rgb"]),
        loss=lambda output, taught, labels: objective(output, taught, labels, distill),
        read=lambda batch: {"stream": student(batch["rgb"]).logits},
        teach=teach,
        teachers=frozen,
    )  # fmt: skip


def _pruned(output: StreamOutput, scale: float, maps: bool) -> StreamOutput:
    """Logits times a factor, and of the maps only the last, where they are needed."""
    return output._replace(logits=output.logits * scale, signals=(), blocks=output.blocks[-1:] if maps else ())


def teacher_weights(lab: Lab, teachers: Sequence[Run], distill: DistillConfig) -> Tensor:
    """How much each teacher counts whatever the clip, (teachers,), sum 1.

    Alike, but for weighting "dataset": the softmin of their mean cross-entropy on the validation
    clips, which no teacher was trained on (Radevski et al.; their code holds training clips out).
    """
    import torch

    from .system_losses import ensemble_weights

    if distill.weighting != "dataset":
        return torch.full((len(teachers),), 1 / len(teachers))
    logits, labels = _predictions(lab, teachers, "validation")
    temperature = distill.weighting_temperature
    return ensemble_weights(logits, labels, weighting="dataset", temperature=temperature)[:, 0]


def fuse_predictions(lab: Lab, teachers: Sequence[Run]) -> Run:
    """The teachers themselves as one classifier: the mean of their logits, from kept predictions.

    It needs every teacher's modality at test. Nothing is trained. Reading: "fused".
    """
    modalities = {f"teacher {n}": modality_of(run, "stream") for n, run in enumerate(teachers)}
    run = lab.run("ensemble", {"modalities": modalities, "weighting": "uniform"}, tuple(teachers))
    if not lab.needs(run):
        return run
    with making(run) as missing:
        if missing:
            _keep(run, lab, {part: {"fused": _predictions(lab, teachers, part)[0].mean(dim=0)}
                             for part in ("validation", "test")})  # fmt: skip
    return run


def read_target_alone(lab: Lab, two_stream: Run) -> Run:
    """Step 2's target branch (rows 7 and 6a) with the source's signals left out; nothing is trained.

    In rows 7 and 6a the branch still receives them, as in the released code, so it needs both modalities.
    Reading: "alone".
    """
    modality = modality_of(two_stream, "target")
    config = {"model": two_stream.spec.config["model"], "modalities": {"target": modality}}
    run = lab.run("target-alone", config, (two_stream,))
    if not lab.needs(run):
        return run
    stream = load_stream(two_stream, "target")
    return answer(run, lab, stream, lambda batch: {"alone": stream(batch[modality]).logits})


def read_ladder(lab: Lab, hallucination: Run, unconnected: Run) -> Run:
    """What lifts row 13 out of chance with RGB alone, in place of depth's signals; nothing is trained.

    `hallucination` is a run of step 3 with connections, `unconnected` one without. Readings: "own_signals",
    which the hallucination itself hands over when nothing flows in; "other_signals", those of `unconnected`;
    "renewed", no signals, and batch statistics taken anew from the training clips.
    """
    modality, model = modality_of(hallucination, "hallucination"), hallucination.spec.config["model"]
    run = lab.run("ladder", {"model": model, "modalities": {"hallucination": modality}}, (hallucination, unconnected))
    if not lab.needs(run):
        return run
    from torch.nn import ModuleDict

    from ...model import TwoStream

    stream, other, renewed = (load_stream(one, "hallucination") for one in (hallucination, unconnected, hallucination))
    how = model["connection"], model["connect_at"]
    own, fed = TwoStream(stream, stream, *how), TwoStream(other, stream, *how)
    renew_batch_norm(lab, renewed, modality)

    def read(batch: Batch) -> dict[str, Tensor]:
        clip = batch[modality]
        return {"own_signals": own(clip, clip).target_logits, "other_signals": fed(clip, clip).target_logits,
                "renewed": renewed(clip).logits}  # fmt: skip

    return answer(run, lab, ModuleDict({"own": own, "fed": fed, "renewed": renewed}), read)


def renew_batch_norm(lab: Lab, stream: Stream, modality: str) -> None:
    """Running batch statistics become the mean over batches of all training clips, seen in that modality."""
    import torch

    from ...fit import TEST_BATCH

    for part in stream.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # a plain mean over all batches
    stream.train()
    with torch.no_grad():
        for batch in Batches(lab, lab.split.train).test_batches(TEST_BATCH):
            stream(batch[modality])
    stream.eval()


def answer(run: Run, lab: Lab, network: Module, read: Callable[[Batch], dict[str, Tensor]], *,
           parts: Sequence[str] = ("validation", "test"), bn_at_test: str = "running") -> Run:  # fmt: skip
    """A run for which nothing is trained: what a network that is there answers to clips."""
    import torch

    from ...fit import evaluate
    from ...processes import meet

    with making(run) as missing:
        if missing:
            state, logits = meet(), {}
            share = (state.process_index, state.num_processes)
            network.to(state.device, memory_format=torch.channels_last)
            for part in parts:
                batches = Batches(lab, getattr(lab.split, part), device=state.device, share=share)
                found = evaluate(network, read, batches, bn_at_test)
                logits[part] = {name: torch.from_numpy(rows) for name, rows in found.items()}
            _keep(run, lab, logits)
    return run


def _keep(run: Run, lab: Lab, logits: dict[str, dict[str, Tensor]]) -> None:
    """Write logits (clips, classes) by part and reading into a run, and their accuracy."""
    from ...fit import check_finite, summary
    from ...processes import meet

    outputs, kept, ids = {}, {}, {part: list(getattr(lab.split, part)) for part in logits}
    for part, readings in logits.items():
        check_finite(readings, "logits", [])
        labels = lab.clips.labels[lab.clips.rows(ids[part])]
        for reading, values in readings.items():
            outputs.setdefault(reading, {})[part] = summary(values.numpy().argmax(axis=1) == labels)
            kept[f"{part}/{reading}"] = values
    if meet().is_main_process:
        run.save_tensors(PREDICTIONS, kept, ids)
        run.save_json(RESULT, {"outputs": outputs, "primary": next(iter(outputs))})
        run.set_state("done")


def _predictions(lab: Lab, runs: Sequence[Run], part: str) -> tuple[Tensor, Tensor]:
    """Kept logits (runs, clips, classes) and the clips' labels (clips,)."""
    import torch

    kept = [run.load_tensors(PREDICTIONS) for run in runs]
    ids = list(getattr(lab.split, part))
    for run, (_, about) in zip(runs, kept, strict=True):
        if about[part] != ids:
            fix = "train these runs on one split"
            raise LabError.mismatch(run.path / PREDICTIONS, f"the {part} clips of {lab.split.name}", "others", fix)
    logits = torch.stack([tensors[f"{part}/stream"] for tensors, _ in kept])
    return logits, torch.from_numpy(lab.clips.labels[lab.clips.rows(ids)])
