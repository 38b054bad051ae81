"""Names of the tensors that cross module borders, with their axes as words.

Axis words are the same everywhere: batch, time, channel, height, width, classes. Inside a stream
batch and time are folded into one axis, because every layer but the temporal one is two-dimensional.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

Clip = Float[Tensor, "batch time 3 height width"]
Features = Float[Tensor, "frames channel h w"]  # frames = batch * time
Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, "batch"]
Scalar = Float[Tensor, ""]
