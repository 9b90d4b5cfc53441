"""The reference study: its curves, and how it measured them.

"GTN Robustness Tests", K. Willis, TU Berlin 2021, asks whether learners of a Generative Teaching Network are less
robust than learners of real images. `published_curves.csv` holds its answer, read off the vector graphics of its
figures: the mean accuracy over five seeds and the accepted architectures, and `std`, the half-width of its band.
Strengths are in units of normalized images. `gtn` names the architecture that a teacher was optimized for.
"""
