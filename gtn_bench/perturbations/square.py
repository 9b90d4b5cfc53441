"""The Square attack: random search with queries of the outputs, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.inference.losses import margin
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.perturbations.counters import uniform_rows
from gtn_bench.perturbations.windows import WINDOWS

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries of 10000
_BLOCK = 32  # queries whose random numbers are drawn together


class Square(Perturbation):
    """Square attack: random search with square changes that raise the margin, in the ball of radius beta.

    It sees the logits, but no gradient. A query is a forward pass of one image; the clean image is the first, the
    random start the second. An image returns its first misclassified query, or else the query with the largest
    margin; one that is misclassified without a change stays as it is.

    Attributes:
        norm: The norm of the ball.
        queries: Largest number of queries per image.
        p_init: Share of the pixels in the first windows. It is halved on a schedule that `queries` scales.
    """

    name = "square"
    source = "https://arxiv.org/abs/1912.00049"
    beta_meaning = "radius"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    pixel_fields = ("beta",)
    refills = True

    norm: Literal["linf", "l2"] = "linf"
    queries: PositiveInt = 5000
    p_init: Annotated[float, Field(gt=0, le=1)] = 0.8

    def axis_label(self, unit: str = "pixel value") -> str:
        return f"{self.norm} {super().axis_label(unit)}"

    @property
    def threat_model(self) -> Threat:
        return Threat(self.norm, self.beta)

    @property
    def passes(self) -> float:
        return self.queries

    def with_steps(self, factor: int) -> Self | None:
        return self.variant(queries=self.queries * factor)

    def with_restart(self) -> Self:
        return self

    def share(self, proposal: int) -> float:
        """Return the share of the pixels in a window.

        Args:
            proposal: Number of the proposal, from zero.
        """
        scaled = int(proposal / self.queries * 10000)
        return self.p_init / 2 ** sum(scaled > query for query in _HALVED_AFTER)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return x if self.beta == 0 else self.search(classifier, x, y, seeds)

    def search(
        self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor, floors: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """Search with random windows.

        Args:
            classifier: The classifier under attack.
            x: Images (N, C, H, W).
            y: Labels (N,).
            seeds: Seeds (N,).
            floors: Margins (N,) by numbers of queries, in ascending order. After so many queries, an image whose
                largest margin is below, or has not grown since the number before, is searched no further.

        Returns:
            Images (N, C, H, W).
        """
        import torch

        at_start, per_proposal = WINDOWS[self.norm].numbers(tuple(x.shape[1:]))
        result = x.clone()
        with torch.no_grad():
            clean = margin(classifier(x), y)
            rows = (~(clean > 0)).nonzero().squeeze(1)
            y, seeds = y[rows], seeds.to(x.device)[rows]
            windows, loss = WINDOWS[self.norm](x[rows], self.beta), torch.full_like(clean[rows], -torch.inf)
            checked = torch.full_like(clean, -torch.inf)
            pixels = x[rows].flatten(1)  # of the best images, and of the next query
            for query in range(self.queries - 1):
                if not len(rows):
                    break
                place = (query - 1) % _BLOCK
                if query == 0:
                    windows.begin(pixels, uniform_rows(seeds, 0, 1, at_start)[:, 0])
                else:
                    if place == 0:
                        shares = [self.share(query - 1 + number) for number in range(_BLOCK)]
                        windows.draw(uniform_rows(seeds, query, _BLOCK, per_proposal), shares)
                    windows.propose(pixels, place)
                logits = classifier(pixels.view(-1, *x.shape[1:]))  # it must not change its input
                windows.keep_better(pixels, logits, y, loss)
                checks = floors is not None and query + 2 in floors
                if not checks and loss.max().item() <= 0:
                    continue
                ended = loss > 0
                if floors is not None and checks:
                    ended = ended | (loss < floors[query + 2][rows]) | (loss <= checked[rows])
                    checked[rows] = loss
                result[rows[ended]] = pixels[ended].view(-1, *x.shape[1:])
                rows, y, seeds, pixels, loss = (each[~ended] for each in (rows, y, seeds, pixels, loss))
                windows.retain(~ended)
            result[rows] = pixels.view(-1, *x.shape[1:])
        return result
