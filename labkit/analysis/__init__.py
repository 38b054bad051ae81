"""What results mean: intervals, claims and verdicts, cues, similarity of feature maps.

Everything here reads finished runs and trains nothing. Imports the rooms before it, up to `experiments`. Start with
`claims`, then `verdicts`.
"""
