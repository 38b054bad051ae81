"""What only notebooks use: publishing and recording, widgets with static twins, checks of exercises.

Imports the rooms before it, up to `figures`. Start with `records`, then `exercises`, the engine of every check.
"""
