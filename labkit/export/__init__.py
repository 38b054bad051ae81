"""A finished network outside the lab: ONNX, prediction on any video, a model card.

Imports the front room, `data` and `analysis`. Start with `package`.
"""
