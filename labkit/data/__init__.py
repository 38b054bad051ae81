"""Any RGB-D recording, to a store of aligned clips.

Imports the front room alone. Start with `prepare`, which makes the store: it asks `sets` which data set lies in
a folder, reads every clip as `registration` and `maps` say, and keeps it in `store`. `check` looks at every
clip of a folder first; `splits` divides the clips.
"""
