"""L-BFGS-B, the limited-memory quasi-Newton method in a box, for many problems at once.

Every problem has its own memory and its own line search; all are evaluated together. The steps are those of
L-BFGS-B 3.0, which SciPy has: the generalised Cauchy point of the quadratic model, its minimum over the
variables that are free there, a line search towards it.

Sources: R. Byrd, P. Lu, J. Nocedal, C. Zhu, SIAM J. Scientific Computing 16 (1995), whose letters W, M and
theta are used here; J. Morales, J. Nocedal, ACM Transactions on Mathematical Software 38 (2011).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gtn_bench.perturbations.line_search import LineSearch

if TYPE_CHECKING:
    from torch import Tensor

# Of points (n, D) that belong to the problems `rows` (n,): values (n,) and gradients (n, D).
Objective = Callable[["Tensor", "Tensor"], "tuple[Tensor, Tensor]"]
Tensors = TypeVar("Tensors", bound="tuple[Any, ...]")

TRIALS = 20  # steps tried along one direction


class Model(NamedTuple):
    """Quadratic models of n problems around their current points: the Hessian is theta I - W^T M W.

    The newest of m pairs of moves and gradient changes is the last; unused ones are zero.
    """

    moves: Tensor  # (n, m, D), of the point
    changes: Tensor  # (n, m, D), of the gradient
    theta: Tensor  # (n,)

    @staticmethod
    def blank(x: Tensor, memory: int) -> Model:
        """Knowing nothing: the Hessian is the identity."""
        none = x.new_zeros(len(x), memory, x.shape[1])
        return Model(none, none.clone(), x.new_ones(len(x)))

    @property
    def used(self) -> Tensor:
        """Which pairs are in use (n, m)."""
        return self.changes.any(dim=2)

    def learned(self, move: Tensor, change: Tensor, wanted: Tensor) -> Model:
        """With another pair (n, D) for the problems that want it (n,); the oldest is forgotten."""
        import torch

        moves, changes = (
            torch.cat([old[:, 1:], new[:, None]], dim=1).where(wanted[:, None, None], old)
            for old, new in ((self.moves, move), (self.changes, change))
        )
        theta = (change.square().sum(1) / (move * change).sum(1)).where(wanted, self.theta)
        return Model(moves, changes, theta)

    def compact(self) -> tuple[Tensor, Tensor]:
        """W (n, 2m, D) and M (n, 2m, 2m) of the pairs that any of the problems uses."""
        import torch

        count = int(self.used.sum(1).max())
        moves, changes, used = (part[:, len(part[0]) - count :] for part in (self.moves, self.changes, self.used))
        theta = self.theta[:, None, None]
        moved = (moves @ changes.mT).double()
        blank = torch.diag_embed((~used).double())  # keeps the matrix regular; W has zeros there
        diagonal, lower = torch.diag_embed(moved.diagonal(dim1=1, dim2=2)) + blank, moved.tril(-1)
        square = (theta * (moves @ moves.mT)).double() + blank
        inverse = torch.cat([torch.cat([-diagonal, lower.mT], 2), torch.cat([lower, square], 2)], 1)
        middle: Tensor = torch.linalg.inv_ex(inverse).inverse.to(moves.dtype)
        return torch.cat([changes, theta * moves], 1), middle

    def forgotten(self, rows: Tensor) -> Model:
        """Blank again for the problems of `rows` (n,)."""
        keep = (~rows)[:, None, None]
        return Model(self.moves * keep, self.changes * keep, self.theta.where(~rows, 1))

    def minimum(self, x: Tensor, grad: Tensor) -> Tensor:
        """Where the models have their approximate minima in the box (n, D), seen from x with its gradient."""
        w, m = self.compact()
        cauchy, free = cauchy_point(x, grad, self.theta, w, m)
        newton = subspace_minimum(x, grad, self.theta, w, m, cauchy, free)
        return newton.where(self.used.any(dim=1)[:, None], cauchy)


def cauchy_point(x: Tensor, grad: Tensor, theta: Tensor, w: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """The first minimum (n, D) of the model along the projected steepest descent; which variables are free there.

    Variables stop one after the other where they meet the box. Between two stops the model is a parabola,
    whose slope and curvature at every stop follow from what still moves there.
    """
    import torch

    held = ((x <= 0) & (grad >= 0)) | ((x >= 1) & (grad <= 0))
    direction = -grad.where(~held, 0)
    reach = _reach(x, direction)
    stops, order = reach.sort(dim=1)
    last = stops.where(stops.isfinite(), 0).amax(1, keepdim=True)
    stops = stops.minimum(last)
    begins = torch.cat([torch.zeros_like(last), stops[:, :-1]], 1)
    lengths = stops - begins
    d = direction.gather(1, order)
    p = _sum_from(d[:, None] * w.gather(2, order[:, None].expand(-1, w.shape[1], -1)))  # W d, (n, 2m, D)
    square = _sum_from(d.square())
    travelled = lengths[:, None] * p
    c = travelled.cumsum(2) - travelled  # W z, z the way so far
    slope = square * (theta[:, None] * begins - 1) - (p * (m @ c)).sum(1)
    curvature = theta[:, None] * square - (p * (m @ p)).sum(1)
    least = torch.finfo(x.dtype).eps * theta[:, None] * square[:, :1]
    within = -slope / curvature.maximum(least).clamp_min(torch.finfo(x.dtype).tiny)
    ends = within < lengths
    index = ends.to(torch.uint8).argmax(1, keepdim=True)
    ended = ends.any(dim=1, keepdim=True)
    begin = begins.gather(1, index).where(ended, last)
    time = begin + within.gather(1, index).clamp_min(0).where(ended, 0)
    stopped = reach <= begin
    point = (direction > 0).to(x.dtype).where(stopped, (x + time * direction).clamp(0, 1))
    return point, ~held & ~stopped


def subspace_minimum(
    x: Tensor, grad: Tensor, theta: Tensor, w: Tensor, m: Tensor, cauchy: Tensor, free: Tensor
) -> Tensor:
    """The model's minimum (n, D) over the free variables, from the Cauchy point, brought back into the box.

    Projected into it; where that leads uphill, the way is cut off where it leaves the box.
    """
    import torch

    theta = theta[:, None]
    z = cauchy - x
    residual = -(grad + theta * z - _apply(w.mT, _apply(m, _apply(w, z)))) * free
    w = w * free[:, None]
    inner = torch.eye(w.shape[1], dtype=torch.float64, device=w.device) - (m @ (w @ w.mT)).double() / theta[:, :, None]
    weights = torch.linalg.solve_ex(inner, _apply(m, _apply(w, residual)).double()).result.to(x.dtype)
    way = residual / theta + _apply(w.mT, weights) / theta.square()
    goal = (cauchy + way).clamp(0, 1)
    uphill = ((goal - x) * grad).sum(1, keepdim=True) > 0
    share = _reach(cauchy, way).amin(1, keepdim=True).clamp_max(1)
    return (cauchy + share * way).clamp(0, 1).where(uphill, goal)


def minimise(
    objective: Objective,
    start: Tensor,
    *,
    steps: int = 100,
    memory: int = 10,
    tolerance: float = 2.2e-9,
    flatness: float = 1e-5,
) -> Tensor:
    """Local minima (N, D) in [0, 1]^D of N objectives, each from its own row of `start` (N, D).

    A problem is finished after `steps` evaluations; when a step lowers its value by less than `tolerance`,
    relative to the value if that is above one; when no variable that the box leaves free has a slope above
    `flatness`; when no step lowers it at all. Finished ones cost nothing more.

    Args:
        objective: of points (n, D) that belong to the problems `rows` (n,), the values (n,) and gradients (n, D).
    """
    import torch

    found = start.clamp(0, 1)
    x, rows = found.clone(), torch.arange(len(found), device=found.device)
    if not len(rows):
        return found
    value, grad = objective(x, rows)
    course = Course.begin(x, value, grad, Model.blank(x, memory), first=True)
    active = _flatness(x, grad) > flatness
    for _ in range(steps - 1):
        if not active.all():
            found[rows] = x
            rows, x, value, grad = (tensor[active] for tensor in (rows, x, value, grad))
            course = only(course, active)
        if not len(rows):
            break
        model, goal, search = course
        step, direction = search.step[:, None], goal - x
        trial = goal.where(step == 1, (x + step * direction).clamp(0, 1))
        trial_value, trial_grad = objective(trial, rows)
        slope, first_slope = (trial_grad * direction).sum(1), search.origin.slope
        search = search.seen(trial_value, slope)

        accepted = search.ended
        failed = ~accepted & ((search.trials >= TRIALS) | ~search.step.isfinite())
        lowered = (value - trial_value) / value.abs().maximum(trial_value.abs()).clamp_min(1)
        settled = accepted & ((lowered <= tolerance) | (_flatness(trial, trial_grad) <= flatness))
        active = ~settled & ~(failed & ~model.used.any(dim=1))
        curved = slope - first_slope > -torch.finfo(x.dtype).eps * first_slope
        model = model.learned(step * direction, trial_grad - grad, accepted & curved).forgotten(failed)
        x, grad = trial.where(accepted[:, None], x), trial_grad.where(accepted[:, None], grad)
        value = trial_value.where(accepted, value)
        course = Course(model, goal, search)

        turning = (accepted | failed) & active
        if turning.any():
            turned = Course.begin(x[turning], value[turning], grad[turning], only(model, turning))
            course = put(course, turning, turned)
            active[turning] = turned.search.origin.slope < 0
    found[rows] = x
    return found


class Course(NamedTuple):
    """What n problems are doing: their models, where these have their minima, the searches towards them."""

    model: Model
    goal: Tensor  # (n, D)
    search: LineSearch

    @staticmethod
    def begin(x: Tensor, value: Tensor, grad: Tensor, model: Model, first: bool = False) -> Course:
        """Towards the minimum of the model; what it has learned is forgotten where that lies uphill, or nowhere."""
        goal = model.minimum(x, grad)
        slope = (grad * (goal - x)).sum(1)
        uphill = ~(slope < 0) & model.used.any(dim=1)
        if uphill.any():
            model = model.forgotten(uphill)
            goal = model.minimum(x, grad)
            slope = (grad * (goal - x)).sum(1)
        limit = slope.new_ones(len(slope)) if first else _reach(x, goal - x).amin(1).clamp_min(1)
        return Course(model, goal, LineSearch.begin(value, slope, limit))


def only(tensors: Tensors, rows: Tensor) -> Tensors:
    """Some of the problems."""
    parts = (only(part, rows) if isinstance(part, tuple) else part[rows] for part in tensors)
    return type(tensors)(*parts)


def put(tensors: Tensors, rows: Tensor, new: Tensors) -> Tensors:
    """With some of the problems replaced."""
    parts = (
        put(old, rows, part) if isinstance(old, tuple) else old.masked_scatter(_over(rows, old), part)
        for old, part in zip(tensors, new, strict=True)
    )
    return type(tensors)(*parts)


def _over(rows: Tensor, tensor: Tensor) -> Tensor:
    return rows.view(-1, *[1] * (tensor.dim() - 1))


def _flatness(x: Tensor, grad: Tensor) -> Tensor:
    """The longest component of the projected gradient (n,)."""
    return (x - (x - grad).clamp(0, 1)).abs().amax(1)


def _reach(x: Tensor, direction: Tensor) -> Tensor:
    """How far every variable can go along the direction until it meets the box (n, D); infinite if it stands."""
    distance = ((direction > 0).to(x.dtype) - x) / direction
    return distance.where(direction != 0, float("inf"))


def _sum_from(terms: Tensor) -> Tensor:
    """The sum of all terms from each one on, along the last dimension."""
    return terms.flip(-1).cumsum(-1).flip(-1)


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[:, :, None]).squeeze(2)
