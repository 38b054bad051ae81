"""What every room but the front one may use: the machine, work over several processes, progress.

Imports the front room only. Start with `machine`.
"""
