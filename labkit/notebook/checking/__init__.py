"""The checks behind the exercises: cases with typical mistakes, and what an answer may use.

Imports what the notebooks do. Start with `exercises`.
"""
