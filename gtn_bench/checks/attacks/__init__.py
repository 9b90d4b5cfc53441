"""Probes: extra attacks on a part of the test images that test whether the attacks of a run can be relied on."""
