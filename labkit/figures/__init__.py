"""Pictures of results: one function a figure, from tables and arrays to a matplotlib `Figure`.

No function here reads a run or a model; saving is the caller's. Imports the rooms before it, up to `analysis`.
Start with `style` (sizes, one colour a role), then `gallery`, which offers all to notebooks.
"""
