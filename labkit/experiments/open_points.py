"""The other reading of what the paper leaves open, where that takes more than a setting of the profile.

Rows 3 to 5: whether Hoffman et al.'s depth stream is trained, and how their loss terms weigh. Rows 7 and 6a:
whether the target branch of step 2, tested by itself, still receives the source's signals. As in `trainers`,
what computes is imported where it is needed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ..config import DistillConfig
from ..errors import LabError
from ..lab import Lab
from ..roles import load_stream, modality_of
from ..runs import PREDICTIONS, RESULT, Run
from ..trainers import obtain, trained
from .systems import train_jointly

if TYPE_CHECKING:
    from ..fit import Task

HOFFMAN_FACTOR = 10.0  # of the feature term over the largest cross-entropy; Hoffman et al. (CVPR 2016)
BALANCED_ON = 64  # training clips


def train_jointly_otherwise(
    lab: Lab, depth: Run, rgb: Run, *, distill: DistillConfig, reading: Literal["frozen", "weighted"]
) -> Run:
    """`systems.train_jointly` (rows 3 to 5) as it may also be read; the same start, data, budget and readings.

    "frozen": of the depth stream only the classifier learns; up to the layer of eq. 3 it stays the teacher
    that step 1 made (Hoffman et al. set its learning rate to 0 there).
    "weighted": their weights. RGB + hallucination counts twice, and the feature term starts at ten times the
    largest cross-entropy in place of `distill.joint_weight` times its size. Raises LabError where the objective
    has other terms than eq. 3.
    """
    if reading == "weighted" and distill.objective != "hallucination":
        fix = "their weights are those of row 3"
        raise LabError.mismatch(None, "the objective hallucination", distill.objective, fix)
    plain = train_jointly(replace(lab, dry=True), depth, rgb, distill=distill).spec
    spec = replace(plain, config={**plain.config, "reading": reading})

    def task() -> Task:
        from ..tasks import one_stage_task

        modalities = {"rgb": modality_of(rgb, "stream"), "depth": modality_of(depth, "stream")}
        streams = [load_stream(run, "stream") for run in (rgb, depth, depth)]
        three = one_stage_task(streams, modalities, distill)
        return _frozen(three) if reading == "frozen" else _weighted(three, lab)

    return trained(lab, spec, lab.profile.step3, task)


def _frozen(three: Task) -> Task:
    from ..model import freeze

    freeze(three.model.depth).backbone.fc.requires_grad_(True)
    return replace(three, title=f"{three.title}, depth frozen")


def _weighted(three: Task, lab: Lab) -> Task:
    """The plain task with its terms summed otherwise."""
    terms = _starting_terms(three, lab)
    largest = max(term for name, term in terms.items() if name not in ("hall", "total"))
    balance = HOFFMAN_FACTOR * largest / terms["hall"]

    def losses(output, lesson, labels):
        found = three.losses(output, lesson, labels)
        hard = sum(term for name, term in found.items() if name not in ("hall", "total"))
        return {**found, "total": hard + found["rgb+hallucination"] + balance * found["hall"]}

    return replace(three, title=f"{three.title}, Hoffman's weights", losses=losses)


def _starting_terms(task: Task, lab: Lab) -> dict[str, float]:
    """Loss terms before the first step, on training clips from all over the split."""
    import torch

    from ..feeds import Feed
    from ..fit import testing

    ids = list(lab.split.train)[:: max(1, len(lab.split.train) // BALANCED_ON)][:BALANCED_ON]
    batch = Feed(lab, lab.split.train, task.modalities).view(ids, False)
    with testing(task.model), torch.inference_mode():
        terms = task.losses(task.forward(task.model, batch, None), None, batch.labels)
    return {name: float(term) for name, term in terms.items()}


def read_target_alone(lab: Lab, two_stream: Run) -> Run:
    """Step 2's target branch (rows 7 and 6a) with the source's signals left out; nothing is trained.

    In rows 7 and 6a the branch still receives them, as in the released code, so it needs both modalities.
    Reading: "alone".
    """
    modality = modality_of(two_stream, "target")
    config = {"model": two_stream.spec.config["model"], "modalities": {"target": modality}}
    spec = lab.spec("target-alone", config, (two_stream,))

    def work(run: Run) -> None:
        import torch
        from accelerate import PartialState

        from ..feeds import Feed
        from ..fit import correct, evaluate, summary
        from ..tasks import labels_task

        state, task = PartialState(), labels_task(load_stream(two_stream, "target"), modality)
        share = (state.process_index, state.num_processes)
        task.model.to(state.device, memory_format=torch.channels_last)
        outputs, predictions, ids = {}, {}, {}
        for part in ("validation", "test"):
            feed = Feed(lab, getattr(lab.split, part), (modality,), device=state.device, share=share)
            logits = evaluate(task, feed, lab.profile.step2)["alone"]
            outputs[part], ids[part] = summary(correct(logits, feed)), feed.ids
            predictions[f"{part}/alone"] = torch.from_numpy(logits)
        if state.is_main_process:
            run.save_tensors(PREDICTIONS, predictions, ids)
            run.save_json(RESULT, {"outputs": {"alone": outputs}, "primary": "alone"})
            run.set_state("done")

    return obtain(lab, spec, work)
