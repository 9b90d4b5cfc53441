"""The line search of Moré and Thuente, for many problems at once.

The accepted step satisfies the strong Wolfe conditions: sufficient decrease of the value, and a small enough slope.

Source: J. Moré, D. Thuente, ACM Transactions on Mathematical Software 20 (1994); constants of L-BFGS-B 3.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

FTOL = 1e-3  # sufficient decrease, relative to the slope at the origin
GTOL = 0.9  # largest slope of an accepted step, relative to the slope at the origin
XTOL = 0.1  # relative width of an interval of uncertainty that is not searched further


class Point(NamedTuple):
    """A point on each of n lines.

    Attributes:
        step: Step from the origin (n,).
        value: Value of the function (n,).
        slope: Directional derivative (n,).
    """

    step: Tensor
    value: Tensor
    slope: Tensor

    def where(self, condition: Tensor, other: Point) -> Point:
        """Return this point where a condition holds, and another point elsewhere.

        Args:
            condition: Mask (n,).
            other: The other point.
        """
        return Point(*(own.where(condition, its) for own, its in zip(self, other, strict=True)))

    def subtract_line(self, slope: Tensor) -> Point:
        """Return the same point of the function minus a linear function.

        Args:
            slope: Slope of the linear function (n,), which is zero at the origin.
        """
        return Point(self.step, self.value - self.step * slope, self.slope - slope)


class LineSearch(NamedTuple):
    """State of n line searches. All tensors are (n,).

    Attributes:
        step: Step to evaluate next; the accepted step where the search is done.
        origin: The point at step 0.
        best: The evaluated point with the lowest value. It is one end of the interval of uncertainty.
        other: The other end of the interval of uncertainty.
        bracketed: Whether the interval contains a minimizer.
        second_stage: Whether a step had a sufficient decrease and a non-negative slope. Before that, points without
            sufficient decrease are compared by the auxiliary function. This is the function minus the line of that
            decrease.
        min_step: Lower bound of the next step.
        max_step: Upper bound of the next step. Both are the ends of the interval if it is bracketed.
        width: Width of the interval.
        previous_width: Width of the interval one evaluation earlier.
        limit: Upper bound of all steps. A step that reaches it can end the search.
        evaluations: Number of evaluated steps.
        done: Whether the search has ended.
    """

    step: Tensor
    origin: Point
    best: Point
    other: Point
    bracketed: Tensor
    second_stage: Tensor
    min_step: Tensor
    max_step: Tensor
    width: Tensor
    previous_width: Tensor
    limit: Tensor
    evaluations: Tensor
    done: Tensor

    @staticmethod
    def start(value: Tensor, slope: Tensor, limit: Tensor) -> LineSearch:
        """Return searches whose first step is 1.

        Args:
            value: Values at the origin (n,).
            slope: Slopes at the origin (n,), negative.
            limit: Largest steps (n,).
        """
        import torch

        zero, one = torch.zeros_like(value), torch.ones_like(value)
        false, evaluations = zero.bool(), zero.long()
        origin = Point(zero, value, slope)
        return LineSearch(
            one, origin, origin, origin, false, false, zero, 5 * one, limit, 2 * limit, limit, evaluations, false
        )

    def updated(self, value: Tensor, slope: Tensor) -> LineSearch:
        """Return the searches after the evaluation of their steps.

        Args:
            value: Values at the steps (n,).
            slope: Slopes at the steps (n,).
        """
        trial = Point(self.step, value, slope)
        sufficient_slope = FTOL * self.origin.slope
        sufficient = value <= self.origin.value + self.step * sufficient_slope
        second_stage = self.second_stage | (sufficient & (slope >= 0))

        at_bound = (self.step <= self.min_step) | (self.step >= self.max_step)
        done = sufficient & (slope.abs() <= -GTOL * self.origin.slope)
        done |= sufficient & (slope <= sufficient_slope) & (self.step == self.limit)
        done |= self.bracketed & (at_bound | self._narrow(self.min_step, self.max_step))

        # In the first stage, a lower value without sufficient decrease is compared by the auxiliary function.
        line = sufficient_slope.where(~second_stage & (value <= self.best.value) & ~sufficient, 0)
        best, other, trial = self.best.subtract_line(line), self.other.subtract_line(line), trial.subtract_line(line)
        step, best, other, bracketed = next_step(best, other, trial, self.bracketed, self.min_step, self.max_step)
        best, other = best.subtract_line(-line), other.subtract_line(-line)

        width = (other.step - best.step).abs()
        midpoint = (best.step + other.step) / 2
        step = midpoint.where(bracketed & (width >= 0.66 * self.previous_width), step)
        min_step = best.step.minimum(other.step).where(bracketed, step + 1.1 * (step - best.step))
        max_step = best.step.maximum(other.step).where(bracketed, step + 4 * (step - best.step))
        step = step.clamp_min(0).minimum(self.limit)
        at_bound = (step <= min_step) | (step >= max_step)
        step = best.step.where(bracketed & (at_bound | self._narrow(min_step, max_step)), step)
        return self._replace(
            step=self.step.where(done, step),
            best=best,
            other=other,
            bracketed=bracketed,
            second_stage=second_stage,
            min_step=min_step,
            max_step=max_step,
            width=width.where(bracketed, self.width),
            previous_width=self.width.where(bracketed, self.previous_width),
            evaluations=self.evaluations + 1,
            done=done,
        )

    @staticmethod
    def _narrow(min_step: Tensor, max_step: Tensor) -> Tensor:
        return max_step - min_step <= XTOL * max_step


def next_step(
    best: Point, other: Point, trial: Point, bracketed: Tensor, min_step: Tensor, max_step: Tensor
) -> tuple[Tensor, Point, Point, Tensor]:
    """Choose the next step from the interval of uncertainty and the last evaluated point.

    Args:
        best: The point with the lowest value. It is one end of the interval.
        other: The other end of the interval.
        trial: The last evaluated point.
        bracketed: Mask (n,). True if the interval contains a minimizer.
        min_step: Lower bounds of the next step (n,).
        max_step: Upper bounds of the next step (n,).

    Returns:
        The next step (n,), the new `best`, the new `other`, and whether they bracket a minimizer (n,).
    """
    higher = trial.value > best.value
    opposite = trial.slope * best.slope.sign() < 0
    flatter = trial.slope.abs() < best.slope.abs()
    forward = trial.step > best.step
    distance = trial.step - best.step

    cubic, cubic_ahead = _cubic_minimizer(trial, best)
    quadratic = best.step + distance * best.slope / (best.slope - (trial.value - best.value) / distance) / 2
    secant = trial.step - distance * trial.slope / (trial.slope - best.slope)

    # Case 1, a higher value: the cubic minimizer if it is nearer to the best step than the quadratic's, else the mean.
    near = (cubic - best.step).abs() <= (quadratic - best.step).abs()
    step_if_higher = cubic.where(near, (cubic + quadratic) / 2)
    # Case 2, slopes of opposite signs: the minimizer of cubic or secant that is farther from the trial.
    step_if_opposite = cubic.where((cubic - trial.step).abs() > (secant - trial.step).abs(), secant)
    # Case 3, a flatter slope: if bracketed, the nearer minimizer, at most 66 % of the way to the other end; else the
    # farther one.
    bound = max_step.where(forward, min_step)
    cubic = cubic.where(cubic_ahead, bound)
    nearer = cubic.where((cubic - trial.step).abs() < (secant - trial.step).abs(), secant)
    farther = cubic.where((cubic - trial.step).abs() > (secant - trial.step).abs(), secant)
    guard = trial.step + 0.66 * (other.step - trial.step)
    guarded = nearer.minimum(guard).where(forward, nearer.maximum(guard))
    step_if_flatter = guarded.where(bracketed, farther.maximum(min_step).minimum(max_step))
    # Case 4, no flatter slope: if bracketed, the minimizer of the cubic through trial and other end; else the bound.
    step_if_steeper = _cubic_minimizer(trial, other)[0].where(bracketed, bound)

    step = step_if_higher.where(
        higher, step_if_opposite.where(opposite, step_if_flatter.where(flatter, step_if_steeper))
    )
    other = trial.where(higher, best.where(opposite, other))
    return step, best.where(higher, trial), other, bracketed | higher | opposite


def _cubic_minimizer(a: Point, b: Point) -> tuple[Tensor, Tensor]:
    """Return the minimizer of the cubic through two points, and whether it exists and is beyond `a`, seen from `b`."""
    distance = b.step - a.step
    theta = 3 * (a.value - b.value) / distance + a.slope + b.slope
    scale = theta.abs().maximum(a.slope.abs()).maximum(b.slope.abs())
    square = (theta / scale).square() - (a.slope / scale) * (b.slope / scale)
    gamma = distance.sign() * scale * square.clamp_min(0).sqrt()
    ratio = (gamma - a.slope + theta) / (2 * gamma - a.slope + b.slope)
    return a.step + ratio * distance, (ratio < 0) & (gamma != 0)
