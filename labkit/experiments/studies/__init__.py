"""What is trained or measured beside the paper's four steps: other systems, noise in depth, more people.

Imports the front room, `tools`, `data` and `puppets`. Start with `systems`.
"""
