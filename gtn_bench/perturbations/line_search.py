"""The line search of Moré and Thuente, for many problems at once.

It ends with a step that lowers the value enough and flattens the slope enough (strong Wolfe conditions).

Source: J. Moré, D. Thuente, ACM Transactions on Mathematical Software 20 (1994); constants of L-BFGS-B 3.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

DECREASE = 1e-3  # share of the promised decrease that a step must reach
FLATTER = 0.9  # share of the first slope that may be left after it
NARROW = 0.1  # relative width of an interval that is not searched further


class Point(NamedTuple):
    """On every line a step, the value there and the slope there, (n,) each."""

    step: Tensor
    value: Tensor
    slope: Tensor

    def where(self, condition: Tensor, other: Point) -> Point:
        return Point(*(own.where(condition, its) for own, its in zip(self, other, strict=True)))

    def tilted(self, slope: Tensor) -> Point:
        """The same point after a line of this slope was subtracted."""
        return Point(self.step, self.value - self.step * slope, self.slope - slope)


class LineSearch(NamedTuple):
    """Where n searches stand, each on its own line from its own origin; every tensor is (n,)."""

    step: Tensor  # to try next; of a search that has ended, the step to take
    origin: Point
    best: Point  # of those tried
    end: Point  # the other end of the interval
    bracketed: Tensor  # whether the interval holds a minimum
    risen: Tensor  # whether a step with enough decrease met a slope that is not negative
    shortest: Tensor  # bounds of the next step
    longest: Tensor
    width: Tensor  # of the interval
    width_before: Tensor
    limit: Tensor  # of all steps
    trials: Tensor
    ended: Tensor

    @staticmethod
    def begin(value: Tensor, slope: Tensor, limit: Tensor) -> LineSearch:
        """From the value and the negative slope at the origin; the first step is one."""
        import torch

        zero, one = torch.zeros_like(value), torch.ones_like(value)
        no, trials = zero.bool(), zero.long()
        origin = Point(zero, value, slope)
        return LineSearch(one, origin, origin, origin, no, no, zero, 5 * one, limit, 2 * limit, limit, trials, no)

    def seen(self, value: Tensor, slope: Tensor) -> LineSearch:
        """The searches after value and slope at their steps have become known."""
        now = Point(self.step, value, slope)
        demanded = DECREASE * self.origin.slope
        lower = value <= self.origin.value + self.step * demanded
        risen = self.risen | (lower & (slope >= 0))

        outside = (self.step <= self.shortest) | (self.step >= self.longest)
        ended = lower & (slope.abs() <= -FLATTER * self.origin.slope)
        ended |= lower & (slope <= demanded) & (self.step == self.limit)
        ended |= self.bracketed & (outside | self._narrow(self.shortest, self.longest))

        # As long as no slope has risen, a lower value with too small a decrease is judged by what it lacks.
        tilt = demanded.where(~risen & (value <= self.best.value) & ~lower, 0)
        best, end, now = self.best.tilted(tilt), self.end.tilted(tilt), now.tilted(tilt)
        step, best, end, bracketed = interpolate(best, end, now, self.bracketed, self.shortest, self.longest)
        best, end = best.tilted(-tilt), end.tilted(-tilt)

        interval = (end.step - best.step).abs()
        middle = (best.step + end.step) / 2
        step = middle.where(bracketed & (interval >= 0.66 * self.width_before), step)
        shortest = best.step.minimum(end.step).where(bracketed, step + 1.1 * (step - best.step))
        longest = best.step.maximum(end.step).where(bracketed, step + 4 * (step - best.step))
        step = step.clamp_min(0).minimum(self.limit)
        outside = (step <= shortest) | (step >= longest)
        step = best.step.where(bracketed & (outside | self._narrow(shortest, longest)), step)
        return self._replace(
            step=self.step.where(ended, step),
            best=best,
            end=end,
            bracketed=bracketed,
            risen=risen,
            shortest=shortest,
            longest=longest,
            width=interval.where(bracketed, self.width),
            width_before=self.width.where(bracketed, self.width_before),
            trials=self.trials + 1,
            ended=ended,
        )

    @staticmethod
    def _narrow(shortest: Tensor, longest: Tensor) -> Tensor:
        return longest - shortest <= NARROW * longest


def interpolate(
    best: Point, end: Point, now: Point, bracketed: Tensor, shortest: Tensor, longest: Tensor
) -> tuple[Tensor, Point, Point, Tensor]:
    """The step to try after `now`; the new best point and other end, and whether they hold a minimum."""
    higher = now.value > best.value
    turned = now.slope * best.slope.sign() < 0
    flatter = now.slope.abs() < best.slope.abs()
    forward = now.step > best.step
    way = now.step - best.step

    cubic, ahead = _cubic(now, best)
    parabola = best.step + way * best.slope / (best.slope - (now.value - best.value) / way) / 2
    secant = now.step - way * now.slope / (now.slope - best.slope)

    # A higher value: back to the cubic's minimum, or half way to the parabola's if that is nearer to the best.
    near = (cubic - best.step).abs() <= (parabola - best.step).abs()
    after_higher = cubic.where(near, (cubic + parabola) / 2)
    # A slope of the other sign: the minimum of cubic or parabola that is farther from here.
    after_turned = cubic.where((cubic - now.step).abs() > (secant - now.step).abs(), secant)
    # A flatter slope: the nearer one inside a bracket, but not too near to its end; the farther one without.
    beyond = longest.where(forward, shortest)
    cubic = cubic.where(ahead, beyond)
    nearer = cubic.where((cubic - now.step).abs() < (secant - now.step).abs(), secant)
    farther = cubic.where((cubic - now.step).abs() > (secant - now.step).abs(), secant)
    guard = now.step + 0.66 * (end.step - now.step)
    inside = nearer.minimum(guard).where(forward, nearer.maximum(guard))
    after_flatter = inside.where(bracketed, farther.maximum(shortest).minimum(longest))
    # No flatter slope: towards the other end, or as far as allowed.
    after_steeper = _cubic(now, end)[0].where(bracketed, beyond)

    step = after_higher.where(higher, after_turned.where(turned, after_flatter.where(flatter, after_steeper)))
    end = now.where(higher, best.where(turned, end))
    return step, best.where(higher, now), end, bracketed | higher | turned


def _cubic(a: Point, b: Point) -> tuple[Tensor, Tensor]:
    """The minimum of the cubic through two points, and whether it has one that lies beyond `a`, seen from `b`."""
    way = b.step - a.step
    theta = 3 * (a.value - b.value) / way + a.slope + b.slope
    scale = theta.abs().maximum(a.slope.abs()).maximum(b.slope.abs())
    square = (theta / scale).square() - (a.slope / scale) * (b.slope / scale)
    root = way.sign() * scale * square.clamp_min(0).sqrt()
    share = (root - a.slope + theta) / (2 * root - a.slope + b.slope)
    return a.step + share * way, (share < 0) & (root != 0)
