"""Attacks of ART, foolbox and torchattacks, by their names."""
