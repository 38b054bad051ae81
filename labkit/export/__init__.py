"""A finished network outside the lab: one ONNX file with its model card, and its answer for any video.

For whoever wants to use a trained model, not to train one. Imports the front room, `tools`, `data`, `puppets`
and `experiments`. Start with `convert`, which writes an export, and `predict`, which asks one.
"""
