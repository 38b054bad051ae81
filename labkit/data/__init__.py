"""Any RGB-D recording, to a store of aligned clips.

Imports the front room alone. Start with `prepare`, which makes the store: `splits` tells which data set lies in a
folder and how its clips are divided, `index` and `sets` list the clips, `video` and `skeletons` read their files,
`modalities` makes aligned pixels of them, `store` keeps these. `check` looks at every clip of a folder
before that.
"""
