"""L-BFGS-B, the limited-memory quasi-Newton method with box constraints, for many problems at once.

Every problem has its own history and its own line search; all problems are evaluated in one batch. An iteration is that
of L-BFGS-B 3.0, which SciPy contains: the generalized Cauchy point of the quadratic model, its minimizer over the
variables that are free there, and a line search towards that minimizer.

Sources: R. Byrd, P. Lu, J. Nocedal, C. Zhu, SIAM J. Scientific Computing 16 (1995), whose notation is used here;
J. Morales, J. Nocedal, ACM Transactions on Mathematical Software 38 (2011).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gtn_bench.perturbations.optim.line_search import LineSearch

if TYPE_CHECKING:
    from torch import Tensor

# From points (n, D) and the indices (n,) of the problems that they belong to, to values (n,) and gradients (n, D).
Objective = Callable[["Tensor", "Tensor"], "tuple[Tensor, Tensor]"]
Tensors = TypeVar("Tensors", bound="tuple[Any, ...]")

MAX_LINE_SEARCH_STEPS = 20


class Model(NamedTuple):
    """Quadratic models of n problems around their current points, with the Hessian ``theta * I - W @ M @ W.T``.

    The history holds m correction pairs, the newest last. Unused pairs are zero.

    Attributes:
        s: Differences of successive points (n, m, D).
        y: Differences of successive gradients (n, m, D).
        theta: Scale of the identity (n,).
    """

    s: Tensor
    y: Tensor
    theta: Tensor

    @staticmethod
    def initial(x: Tensor, history_size: int) -> Model:
        """Return models without correction pairs, whose Hessian is the identity.

        Args:
            x: Points (n, D).
            history_size: Number of correction pairs m.
        """
        zeros = x.new_zeros(len(x), history_size, x.shape[1])
        return Model(zeros, zeros.clone(), x.new_ones(len(x)))

    @property
    def used(self) -> Tensor:
        """Mask of the correction pairs in use (n, m)."""
        return self.y.any(dim=2)

    def updated(self, s: Tensor, y: Tensor, accepted: Tensor) -> Model:
        """Return the models with a new correction pair in place of the oldest.

        Args:
            s: Differences of points (n, D).
            y: Differences of gradients (n, D).
            accepted: Mask (n,) of the problems to update.
        """
        import torch

        history_s, history_y = (
            torch.cat([old[:, 1:], new[:, None]], dim=1).where(accepted[:, None, None], old)
            for old, new in ((self.s, s), (self.y, y))
        )
        theta = (y.square().sum(1) / (s * y).sum(1)).where(accepted, self.theta)
        return Model(history_s, history_y, theta)

    def compact(self) -> tuple[Tensor, Tensor]:
        """Return the compact representation of the Hessians, for the correction pairs that any problem uses.

        Returns:
            The transpose of W (n, 2m, D), and M (n, 2m, 2m).
        """
        import torch

        count = int(self.used.sum(1).max())
        s, y, used = (part[:, len(part[0]) - count :] for part in (self.s, self.y, self.used))
        theta = self.theta[:, None, None]
        s_y = (s @ y.mT).double()
        unused = torch.diag_embed((~used).double())  # keeps the matrix regular; the rows of W are zero there
        diagonal, lower = torch.diag_embed(s_y.diagonal(dim1=1, dim2=2)) + unused, s_y.tril(-1)
        s_s = (theta * (s @ s.mT)).double() + unused
        inverse = torch.cat([torch.cat([-diagonal, lower.mT], 2), torch.cat([lower, s_s], 2)], 1)
        m: Tensor = torch.linalg.inv_ex(inverse).inverse.to(s.dtype)
        return torch.cat([y, theta * s], 1), m

    def reset(self, rows: Tensor) -> Model:
        """Return the models with the history of some problems removed.

        Args:
            rows: Mask (n,) of these problems.
        """
        keep = (~rows)[:, None, None]
        return Model(self.s * keep, self.y * keep, self.theta.where(~rows, 1))

    def minimizer(self, x: Tensor, grad: Tensor) -> Tensor:
        """Return approximate minimizers of the models in the box.

        Args:
            x: Current points (n, D).
            grad: Gradients there (n, D).

        Returns:
            Points (n, D) in [0, 1].
        """
        w, m = self.compact()
        cauchy, free = cauchy_point(x, grad, self.theta, w, m)
        newton = subspace_minimizer(x, grad, self.theta, w, m, cauchy, free)
        return newton.where(self.used.any(dim=1)[:, None], cauchy)


def cauchy_point(x: Tensor, grad: Tensor, theta: Tensor, w: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """Return the generalized Cauchy point: the first local minimizer of the model along the projected gradient path.

    The path bends at breakpoints, where a variable reaches its bound. Between two breakpoints the model is a parabola,
    whose derivatives at the start of the interval follow from the variables that still move.

    Args:
        x: Current points (n, D).
        grad: Gradients there (n, D).
        theta: Scales (n,).
        w: Transposes of W (n, 2m, D).
        m: M (n, 2m, 2m).

    Returns:
        Cauchy points (n, D), and the mask (n, D) of the variables that are free there.
    """
    import torch

    at_bound = ((x <= 0) & (grad >= 0)) | ((x >= 1) & (grad <= 0))
    direction = -grad.where(~at_bound, 0)
    breakpoints = _distances_to_bounds(x, direction)
    sorted_breakpoints, order = breakpoints.sort(dim=1)
    last = sorted_breakpoints.where(sorted_breakpoints.isfinite(), 0).amax(1, keepdim=True)
    sorted_breakpoints = sorted_breakpoints.minimum(last)
    starts = torch.cat([torch.zeros_like(last), sorted_breakpoints[:, :-1]], 1)
    lengths = sorted_breakpoints - starts
    d = direction.gather(1, order)
    p = _sum_from(d[:, None] * w.gather(2, order[:, None].expand(-1, w.shape[1], -1)))  # W^T d, (n, 2m, D)
    d_square = _sum_from(d.square())
    increments = lengths[:, None] * p
    c = increments.cumsum(2) - increments  # W^T (point - x) at the start of each interval
    first_derivative = d_square * (theta[:, None] * starts - 1) - (p * (m @ c)).sum(1)
    second_derivative = theta[:, None] * d_square - (p * (m @ p)).sum(1)
    smallest = torch.finfo(x.dtype).eps * theta[:, None] * d_square[:, :1]
    dt_min = -first_derivative / second_derivative.maximum(smallest).clamp_min(torch.finfo(x.dtype).tiny)
    inside = dt_min < lengths
    index = inside.to(torch.uint8).argmax(1, keepdim=True)
    any_inside = inside.any(dim=1, keepdim=True)
    start = starts.gather(1, index).where(any_inside, last)
    t = start + dt_min.gather(1, index).clamp_min(0).where(any_inside, 0)
    stopped = breakpoints <= start
    point = (direction > 0).to(x.dtype).where(stopped, (x + t * direction).clamp(0, 1))
    return point, ~at_bound & ~stopped


def subspace_minimizer(
    x: Tensor, grad: Tensor, theta: Tensor, w: Tensor, m: Tensor, cauchy: Tensor, free: Tensor
) -> Tensor:
    """Return the minimizer of the model over the free variables, brought back into the box.

    The minimizer is projected onto the box. If that is no descent direction, the step from the Cauchy point is
    truncated at the box instead.

    Args:
        x: Current points (n, D).
        grad: Gradients there (n, D).
        theta: Scales (n,).
        w: Transposes of W (n, 2m, D).
        m: M (n, 2m, 2m).
        cauchy: Cauchy points (n, D).
        free: Mask of the free variables (n, D).

    Returns:
        Points (n, D) in [0, 1].
    """
    import torch

    theta = theta[:, None]
    z = cauchy - x
    negative_gradient = -(grad + theta * z - _apply(w.mT, _apply(m, _apply(w, z)))) * free  # of the model at `cauchy`
    w = w * free[:, None]
    n = torch.eye(w.shape[1], dtype=torch.float64, device=w.device) - (m @ (w @ w.mT)).double() / theta[:, :, None]
    v = torch.linalg.solve_ex(n, _apply(m, _apply(w, negative_gradient)).double()).result.to(x.dtype)
    step = negative_gradient / theta + _apply(w.mT, v) / theta.square()
    projected = (cauchy + step).clamp(0, 1)
    ascent = ((projected - x) * grad).sum(1, keepdim=True) > 0
    alpha = _distances_to_bounds(cauchy, step).amin(1, keepdim=True).clamp_max(1)
    return (cauchy + alpha * step).clamp(0, 1).where(ascent, projected)


def minimize(
    objective: Objective,
    start: Tensor,
    *,
    steps: int = 100,
    history_size: int = 10,
    tolerance: float = 2.2e-9,
    gradient_tolerance: float = 1e-5,
) -> Tensor:
    """Minimize N functions over the box [0, 1]^D, each from its own starting point.

    A problem ends after `steps` evaluations, when it meets one of the tolerances, or when no step decreases its value.
    It is not evaluated any more after its end.

    Args:
        objective: Returns values (n,) and gradients (n, D) at points (n, D). Its second argument holds the indices (n,)
            of the problems that the points belong to.
        start: Starting points (N, D). They are clipped to the box.
        steps: Largest number of evaluations per problem.
        history_size: Number of correction pairs.
        tolerance: Smallest decrease of the value in one step. It is relative to the value if that is larger than 1.
        gradient_tolerance: Largest absolute component of the projected gradient at which a problem ends.

    Returns:
        Local minimizers (N, D) in [0, 1].
    """
    import torch

    result = start.clamp(0, 1)
    x, rows = result.clone(), torch.arange(len(result), device=result.device)
    if not len(rows):
        return result
    value, grad = objective(x, rows)
    iteration = Iteration.start(x, value, grad, Model.initial(x, history_size), first=True)
    active = _projected_gradient_norm(x, grad) > gradient_tolerance
    for _ in range(steps - 1):
        left = active.nonzero().squeeze(1)  # indices: a GPU waits for each use of a mask, but only once for them
        if len(left) < len(rows):
            result[rows] = x
            rows, x, value, grad = (tensor[left] for tensor in (rows, x, value, grad))
            iteration = select(iteration, left)
        if not len(rows):
            break
        model, minimizer, search = iteration
        step, direction = search.step[:, None], minimizer - x
        trial = minimizer.where(step == 1, (x + step * direction).clamp(0, 1))
        trial_value, trial_grad = objective(trial, rows)
        slope, first_slope = (trial_grad * direction).sum(1), search.origin.slope
        search = search.updated(trial_value, slope)

        accepted = search.done
        failed = ~accepted & ((search.evaluations >= MAX_LINE_SEARCH_STEPS) | ~search.step.isfinite())
        decrease = (value - trial_value) / value.abs().maximum(trial_value.abs()).clamp_min(1)
        converged = accepted & (
            (decrease <= tolerance) | (_projected_gradient_norm(trial, trial_grad) <= gradient_tolerance)
        )
        active = ~converged & ~(failed & ~model.used.any(dim=1))
        positive_curvature = slope - first_slope > -torch.finfo(x.dtype).eps * first_slope
        model = model.updated(step * direction, trial_grad - grad, accepted & positive_curvature).reset(failed)
        x, grad = trial.where(accepted[:, None], x), trial_grad.where(accepted[:, None], grad)
        value = trial_value.where(accepted, value)
        iteration = Iteration(model, minimizer, search)

        ended = ((accepted | failed) & active).nonzero().squeeze(1)
        if len(ended):
            following = Iteration.start(x[ended], value[ended], grad[ended], select(model, ended))
            iteration = replace(iteration, ended, following)
            active[ended] = following.search.origin.slope < 0
    result[rows] = x
    return result


class Iteration(NamedTuple):
    """The current iterations of n problems.

    Attributes:
        model: Their quadratic models.
        minimizer: Minimizers of the models (n, D).
        search: The line searches towards the minimizers.
    """

    model: Model
    minimizer: Tensor
    search: LineSearch

    @staticmethod
    def start(x: Tensor, value: Tensor, grad: Tensor, model: Model, first: bool = False) -> Iteration:
        """Return new iterations. The history of a model without a descent direction is removed.

        Args:
            x: Current points (n, D).
            value: Values there (n,).
            grad: Gradients there (n, D).
            model: The models.
            first: Whether these are the first iterations, whose steps are limited to 1.
        """
        minimizer = model.minimizer(x, grad)
        slope = (grad * (minimizer - x)).sum(1)
        ascent = ~(slope < 0) & model.used.any(dim=1)
        if ascent.any():
            model = model.reset(ascent)
            minimizer = model.minimizer(x, grad)
            slope = (grad * (minimizer - x)).sum(1)
        limit = slope.new_ones(len(slope)) if first else _distances_to_bounds(x, minimizer - x).amin(1).clamp_min(1)
        return Iteration(model, minimizer, LineSearch.start(value, slope, limit))


def select(tensors: Tensors, rows: Tensor) -> Tensors:
    """Return the tensors of some of the problems.

    Args:
        tensors: A named tuple of tensors (n, ...) and of such named tuples.
        rows: Indices of these problems.
    """
    parts = (select(part, rows) if isinstance(part, tuple) else part[rows] for part in tensors)
    return type(tensors)(*parts)


def replace(tensors: Tensors, rows: Tensor, new: Tensors) -> Tensors:
    """Return the tensors with those of some problems replaced.

    Args:
        tensors: A named tuple of tensors (n, ...) and of such named tuples.
        rows: Indices of these problems.
        new: The tensors of these problems.
    """
    parts = (
        replace(old, rows, part) if isinstance(old, tuple) else old.index_copy(0, rows, part)
        for old, part in zip(tensors, new, strict=True)
    )
    return type(tensors)(*parts)


def _projected_gradient_norm(x: Tensor, grad: Tensor) -> Tensor:
    """Return the largest absolute component of the projected gradient (n,)."""
    return (x - (x - grad).clamp(0, 1)).abs().amax(1)


def _distances_to_bounds(x: Tensor, direction: Tensor) -> Tensor:
    """Return the step along a direction at which each variable reaches its bound (n, D); infinite if it is constant."""
    distance = ((direction > 0).to(x.dtype) - x) / direction
    return distance.where(direction != 0, float("inf"))


def _sum_from(terms: Tensor) -> Tensor:
    """Return the reversed cumulative sum along the last dimension: each term plus all that follow."""
    return terms.flip(-1).cumsum(-1).flip(-1)


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return the products of matrices (n, a, b) and vectors (n, b)."""
    return (matrices @ vectors[:, :, None]).squeeze(2)
