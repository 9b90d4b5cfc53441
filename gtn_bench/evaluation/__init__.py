"""Evaluation: runs perturbations, clips the images, predicts again and measures distances.

Nothing that a perturbation reports about its success is trusted.
"""
