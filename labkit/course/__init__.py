"""From the notebooks to a course: execution in order, forms, slides, a handout, the site, all in one archive.

Imports the rooms before it. Start with `notebooks`, then `series` and `forms`.
"""
