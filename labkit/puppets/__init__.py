"""The embedded RGB-D action set: puppets that act before two simulated cameras, in the layout of NTU RGB+D.

What is drawn is frozen: a version, a seed and a hash of the index. Imports the front room and `data`. Start with
`make`, which writes the files; `actions` says who does what, `rendering` how a scene becomes pictures.
"""
