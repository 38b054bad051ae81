"""What only notebooks use: figures shown and kept, widgets with static twins, checks of exercises.

Imports the rooms before it, up to `figures`. Start with `display`, then `exercises`, the engine of every check.
"""
