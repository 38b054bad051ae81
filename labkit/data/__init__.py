"""Any RGB-D recording, to a store of aligned clips.

Imports the front room alone. Start with `prepare`, which makes the store: `splits` tells which data set lies in a
folder and how its clips are divided, `sets` and `own_sets` fill an `index` of them, `video` and `skeletons` read
their files, `modalities` makes aligned pixels of these, `store` keeps them. `check` looks at every clip of a
folder before that.
"""
