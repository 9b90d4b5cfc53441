"""Assignment of the images that an attack queries to the clean images that they come from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gtn_bench.config.threat import Threat
from gtn_bench.perturbations.base import lp_norm

_ORDER = {"l0": 0.0, "l1": 1.0, "l2": 2.0, "linf": math.inf}
_BOX = 1e-6  # a pixel may leave [0, 1] by this much, which is rounding


class Assignment:
    """The clean images of a batch, each with its ball.

    A queried image belongs to the clean image in whose ball it lies. One in several balls, in none, or outside of the
    box belongs to none. Attacks that keep the order of a batch can be trusted to, which tells balls apart that
    intersect.

    Args:
        ball: The ball.
        x: Clean images (n, C, H, W).
        in_order: Whether batches of n queried images are in the order of the clean images.
    """

    def __init__(self, ball: Threat, x: Tensor, *, in_order: bool) -> None:
        self.ball, self.x, self.in_order = ball, x, in_order
        # Two balls do not intersect if their centers are far enough apart. Numbers of changed pixels add up, too.
        far = ~ball._replace(epsilon=2 * ball.epsilon).contains(self._distances(x, x))
        far.fill_diagonal_(True)
        self.apart: Tensor = far.all(dim=1)

    def __call__(self, queried: Tensor) -> Tensor:
        """Return the index of the clean image of each queried image, -1 if there is none.

        Args:
            queried: Images (m, C, H, W).

        Returns:
            Indices (m,).
        """
        count = len(queried)
        found = torch.full((count,), -1, device=queried.device)
        in_box = ((queried >= -_BOX) & (queried <= 1 + _BOX)).flatten(1).all(dim=1)
        if count == len(self.x):
            own = self.ball.contains(lp_norm(queried - self.x, self.ball.norm)) & (self.apart | self.in_order)
            found = torch.arange(count, device=queried.device).where(own, found)
        rest = (in_box & (found < 0)).nonzero().squeeze(1)
        if len(rest) and not (self.in_order and count == len(self.x)):
            inside = self.ball.contains(self._distances(queried[rest], self.x))
            found[rest] = inside.int().argmax(dim=1).where(inside.sum(dim=1) == 1, -1)
        return found.where(in_box, -1)

    def _distances(self, images: Tensor, others: Tensor) -> Tensor:
        """Return the distances (m, n) between images (m, C, H, W) and others (n, C, H, W)."""
        rows, columns = images.flatten(1), others.flatten(1)
        if self.ball.norm == "l0":
            return torch.stack([(rows != column).sum(dim=1).to(rows) for column in columns], dim=1)
        return torch.cdist(rows, columns, p=_ORDER[self.ball.norm], compute_mode="donot_use_mm_for_euclid_dist")
