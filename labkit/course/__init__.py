"""From the notebooks to a course: execution in order, forms for students and nbgrader, the site.

Imports the rooms before it. Start with `notebooks`, then `series` and `forms`.
"""
