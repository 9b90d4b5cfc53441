"""The reference study: its curves, and how it measured them.

"GTN Robustness Tests", K. Willis, TU Berlin 2021: are learners of a Generative Teaching Network less robust than
learners of real images? `published_curves.csv` holds its answer, read off the vector graphics of its figures:
mean accuracy over five seeds and the accepted architectures, `std` the half-width of its band, strengths in units
of the normalised images. `gtn` names the architecture that a teacher was optimised for.
"""
