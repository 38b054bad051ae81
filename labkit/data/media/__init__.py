"""Frames as they lie on a disk: videos, pictures, depth images, MATLAB files, and which of RGB go with which of depth.

Imports the front room and `tools`. Start with `video`.
"""
