"""Speed as ratios inside one run, which hold on any machine: `python tests/benchmarks/speed.py`.

Each ratio is the median over interleaved pairs of CPU times on one thread, of two ways to compute the
same thing; the values are compared before the times. Seconds stand beside the ratios for orientation.
Takes about a minute and a half. On a busy machine the ratios still hold, the seconds do not.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from common import adam_step, channels_last, compare
from tiny import MemoryStore, tiny_lab
from torch.nn import functional as F
from torchvision.models import get_model

from labkit.config import MINI, PAPER, Profile
from labkit.data.media.video import read_video
from labkit.fit import Training, train_step
from labkit.model import Backbone, Stream, TwoStream, build_stream, freeze


def two_stream_against_two_resnets(pairs: int) -> tuple[float, float, float]:
    """One clip, ResNet-50, 5 x 224 x 224, 60 classes: connections and temporal convolutions cost what?"""
    clips, labels = torch.rand(2, 1, 5, 3, 224, 224), torch.tensor([7])
    pair = channels_last(TwoStream(Stream(60), Stream(60), "multiply"))
    plain = [channels_last(get_model("resnet50", num_classes=60)) for _ in range(2)]
    frames = [clip[0].contiguous(memory_format=torch.channels_last) for clip in clips]

    def plain_loss() -> torch.Tensor:
        logits = sum(net(x).mean(0, keepdim=True) for net, x in zip(plain, frames, strict=True)) / 2
        return F.cross_entropy(logits, labels)

    ours = adam_step([pair], lambda: F.cross_entropy(pair(clips[0], clips[1]).logits, labels))
    return compare(ours, adam_step(plain, plain_loss), pairs)


def frozen_teacher_against_joint(pairs: int) -> tuple[float, float, float]:
    """A step with the source frozen, as in step 3, over one with both trained, as in step 2."""
    clips, labels = torch.rand(2, 1, 5, 3, 224, 224), torch.tensor([7])
    joint = channels_last(TwoStream(Stream(60), Stream(60)))
    taught = channels_last(TwoStream(freeze(Stream(60)), Stream(60)))
    ours = adam_step([taught], lambda: F.cross_entropy(taught(clips[0], clips[1]).target_logits, labels))
    return compare(ours, adam_step([joint], lambda: F.cross_entropy(joint(*clips).logits, labels)), pairs)


def cached_teacher_against_joint(pairs: int) -> tuple[float, float, float]:
    """The same with the teacher's answer kept from before (`labkit.fit.Taught`): only the student computes."""
    clips, labels = torch.rand(2, 1, 5, 3, 224, 224), torch.tensor([7])
    joint = channels_last(TwoStream(Stream(60), Stream(60)))
    teacher, student = (channels_last(Stream(60)) for _ in range(2))
    with torch.no_grad():
        signals = teacher(clips[1]).signals
    ours = adam_step([student], lambda: F.cross_entropy(student(clips[0], signals, "multiply").logits, labels))
    return compare(ours, adam_step([joint], lambda: F.cross_entropy(joint(*clips).logits, labels)), pairs)


def fast_profile_against_plain(pairs: int, profile: Profile = MINI, clips: int = 32) -> tuple[float, float, float]:
    """A stream's step in bf16, channels-last, with fused Adam, over the same ResNet without our additions
    in fp32, NCHW, with Adam's loop: what one would write first, and even a little less work.
    """
    size, frames_a_clip = profile.clips.size, profile.clips.num_frames
    model = replace(profile.model, pretrained=False)
    clip, labels = torch.rand(clips, frames_a_clip, 3, size, size), torch.arange(clips) % 12
    fast, plain = channels_last(build_stream(model, 12, 5)), Backbone(model.backbone, 12, model.width)
    frames = clip.flatten(0, 1).contiguous()

    def loss(half: bool) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return F.cross_entropy(fast(clip).logits, labels)

    gap = abs(float(loss(True).detach()) - float(loss(False).detach()))
    assert gap < 0.05, f"the two precisions disagree by {gap}"
    theirs = adam_step([plain], lambda: F.cross_entropy(plain(frames).view(clips, 5, -1).mean(1), labels), fused=False)
    return compare(adam_step([fast], lambda: loss(True)), theirs, pairs)


def fast_resnet50_against_plain(pairs: int) -> tuple[float, float, float]:
    """The same at the paper's size, one clip."""
    return fast_profile_against_plain(pairs, PAPER, clips=1)


def loop_against_bare(pairs: int) -> tuple[float, float, float]:
    """`train_step` with its guard against NaN, its schedule and its bookkeeping, over the bare four lines."""
    with tempfile.TemporaryDirectory() as folder:
        lab = replace(tiny_lab(folder), profile=MINI.steps(precision="fp32"))
        stream = build_stream(MINI.model, 3, 5)
        training = Training(
            lab.run("bench", {"modalities": {"stream": "rgb"}}), replace(lab, clips=MemoryStore(48, 64)),
            lab.profile.step1, network=stream, trained={"stream": stream},
            forward=lambda batch, _: stream(batch["rgb"]).logits,
            loss=lambda logits, _, labels: {"total": F.cross_entropy(logits, labels)},
            read=lambda batch: {"stream": stream(batch["rgb"]).logits},
        )  # fmt: skip
        ids = lab.clips.ids[:12]
        batch = training.batches["train"].train_batch(ids, 0)
        training.batches["train"].train_batch = lambda *_: batch
        bare = build_stream(MINI.model, 3, 5)
        channels_last(bare)
        step = adam_step([bare], lambda: F.cross_entropy(bare(batch["rgb"]).logits, batch.labels))
        return compare(lambda: train_step(training, ids), step, pairs)


def seek_against_whole(pairs: int) -> tuple[float, float, float]:
    """Five frames of an 80-frame 1080p MPEG-4 file with a key frame every 12, as in NTU."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "clip.avi")
        chosen = [0, 19, 39, 59, 79]
        assert np.array_equal(read_video(path, chosen), read_video(path, chosen, seek=False))
        return compare(lambda: read_video(path, chosen), lambda: read_video(path, chosen, seek=False), pairs)


def write_video(path: Path) -> Path:
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (45, 80, 3)), np.ones((24, 24, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 1920, 1080, "yuv420p", 12
        stream.codec_context.gop_size, stream.bit_rate = 12, 11_000_000
        for number in range(80):
            frame = np.roll(scene, 3 * number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


BENCHMARKS = (
    ("two-stream step / two torchvision ResNet-50s", two_stream_against_two_resnets, 7, "<= 1.08"),
    ("step with frozen teacher / joint step", frozen_teacher_against_joint, 5, "<= 0.72"),
    ("step with cached teacher / joint step", cached_teacher_against_joint, 5, "<= 0.55"),
    ("plain fp32 step / fast profile (mini)", fast_profile_against_plain, 15, ">= 2.2 with bf16"),
    ("plain fp32 step / fast profile (ResNet-50)", fast_resnet50_against_plain, 5, ">= 2.2 with bf16"),
    ("training loop / bare loop (mini)", loop_against_bare, 31, "<= 1.02"),
    ("whole decode / seek, 5 of 80 frames", seek_against_whole, 9, ">= 2.2"),
)


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, load average {os.getloadavg()[0]:.1f}")
    print(f"{'what':<46}{'ratio':>8}{'goal':>20}{'seconds':>18}")
    for name, benchmark, pairs, goal in BENCHMARKS:
        ratio, ours, theirs = benchmark(pairs)
        if goal.startswith(">="):
            ratio = 1 / ratio
        print(f"{name:<46}{ratio:>8.3f}{goal:>20}{ours:>9.4f} {theirs:>8.4f}", flush=True)


if __name__ == "__main__":
    main()
