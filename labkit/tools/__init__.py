"""What every room but the front one may use: the machine, work over several processes, progress.

Imports the front room only. Start with `home`, which finds the project folder, and `settings`, which finds a profile.
"""
