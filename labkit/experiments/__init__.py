"""What is trained and measured: named trainings, other systems, targets, and the noise study.

A target is a number of a table or a figure; it names the training that it is read from. Imports the front room, `data`
and `puppets`. Start with `targets`, then `trainings` and `graph`.
"""
