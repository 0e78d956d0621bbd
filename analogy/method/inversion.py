"""Minimisation of a function of a NumPy or CuPy array by L-BFGS.

The inversion uses it to find features from which the network computes features near a given target
(Liao et al. 2017, section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Array, Backend
from ..progress import Tick, ignore

MEMORY = 8
"""Maximum number of pairs (step, change of the gradient) that approximate the curvature."""
_ARMIJO = 1e-4
"""Smallest accepted decrease, as a share of the decrease that the slope predicts (Armijo)."""
_ATTEMPTS = 6
"""Maximum number of lengths to try for a step; if none is accepted, the minimisation ends.

Shorter steps would mostly change the value by less than its rounding error in float32.
"""


def minimise(
    backend: Backend,
    function: Callable[[Array], tuple[Any, Array]],
    start: Array,
    iterations: int,
    tick: Tick = ignore,
    on_loss: Callable[[float], None] = ignore,
) -> tuple[Array, float]:
    """Minimise a function by limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4).

    The line search shortens a step that is too long. The first step goes against the gradient, and
    its length before the line search is 3 % of the L2 norm of `start` (1 if the norm is 0). Later
    steps get their direction and length from the approximated curvature. After each call of the
    function, all numbers that the host needs are read from the device in one copy.

    Parameters
    ----------
    backend
        The backend of the arrays.
    function
        Returns (value, gradient) at x. The value is a number or an array of one number. The
        gradient has the shape and dtype of x.
    start
        The first x, float32, of any shape.
    iterations
        Maximum number of steps to take.
    tick
        Called after each call of the function, with the share of the work that is done.
    on_loss
        Called with each value of the function, before the function is called again.

    Returns
    -------
    x, value
        The last accepted x, and its value, which is at most the value at `start`.
    """
    x, xp = start, backend.xp
    there, gradient = function(x)
    tick(1 / (iterations + 1))
    value, gradient_square, square = _read(xp, there, xp.vdot(gradient, gradient), xp.vdot(x, x))
    on_loss(value)
    history = _History(backend, x, min(MEMORY, iterations - 1), gradient_square)
    for iteration in range(iterations):
        direction, slope = history.direction(gradient)
        if not slope < 0:
            break
        length = 1.0
        if not history.slots:
            length = (0.03 * square**0.5 or 1.0) / (-slope) ** 0.5
        for _attempt in range(_ATTEMPTS):
            trial = x + xp.float32(length) * direction
            there, trial_gradient = function(trial)
            tick((iteration + 2) / (iterations + 1))
            products = history.try_step(x, trial, gradient, trial_gradient)
            trial_value, *read = _read(xp, there, *products)
            on_loss(trial_value)
            if trial_value <= value + _ARMIJO * length * slope:
                break
            # Choose the minimum of a parabola as the next length, within limits. The parabola goes
            # through the values at both ends of the step, with the slope at the start of the step.
            curvature = 2 * (trial_value - value - length * slope)
            best = -slope * length**2 / curvature if curvature > 0 else 0.5 * length
            length = min(max(best, 0.02 * length), 0.5 * length)
        else:
            break
        history.keep(read)
        x, value, gradient = trial, trial_value, trial_gradient
    return x, value


def _read(xp: Any, *values: Any) -> list[float]:
    """Return all numbers in `values` as one list, after a single copy from the device.

    `values` are numbers or arrays of the device.
    """
    numbers: list[float] = xp.concatenate([xp.asarray(value).reshape(-1) for value in values]).tolist()
    return numbers


class _History:
    """Latest pairs (s_i, y_i) of L-BFGS: a step, and the change of the gradient over that step.

    The usual two-loop recursion computes dot products of long arrays, one after the other. This
    class stores all dot products that the recursion needs. The recursion runs on these numbers, and
    yields a coefficient for each array (Chen, Wang & Zhou 2014, "Large-scale L-BFGS using
    MapReduce"). One launch computes the dot products of all arrays with a new y_i, and a direction
    needs one weighted sum of all arrays. So an iteration needs a few launches, while the usual
    recursion needs dozens.
    """

    def __init__(self, backend: Backend, x: Array, memory: int, gradient_square: float):
        count = memory + 1  # one more, for the pair of the step that is being tried
        self._backend, self._memory = backend, memory
        self._pairs = backend.xp.empty((count, 2, *x.shape), np.float32)
        self._s_dot_y, self._y_dot_y = np.zeros((2, count, count))
        """Products s_i . y_j (where y_j is as old as s_i, or newer) and y_i . y_j."""
        self._s_dot_g, self._y_dot_g = np.zeros((2, count))
        """Products of each s_i and each y_i with the gradient g."""
        self._g_dot_g = gradient_square
        self.slots: list[int] = []
        """Indices of the pairs in the arrays above, the oldest pair first."""
        self._free = 0

    def direction(self, gradient: Array) -> tuple[Array, float]:
        """Return the direction -H gradient, and the slope: the product of direction and gradient.

        H approximates the inverse of the second derivative. The recursion starts from the identity
        times (s . y) / (y . y), with s and y of the latest pair.
        """
        if not self.slots:
            return -gradient, -self._g_dot_g
        of_y, of_s = np.zeros((2, self._memory + 1))
        for slot in reversed(self.slots):
            product = -self._s_dot_g[slot] - of_y @ self._s_dot_y[slot]
            of_y[slot] = product / self._s_dot_y[slot, slot]
        latest = self.slots[-1]
        scale = self._s_dot_y[latest, latest] / self._y_dot_y[latest, latest]
        for slot in self.slots:
            product = -self._y_dot_g[slot] - of_y @ self._y_dot_y[slot]
            product = scale * product + of_s @ self._s_dot_y[:, slot]
            of_s[slot] = of_y[slot] - product / self._s_dot_y[slot, slot]
        pairs = self._first(max(self.slots) + 1)
        coefficients = np.stack([of_s, -scale * of_y], 1).reshape(-1)[: len(pairs)]
        weights = self._backend.asarray(coefficients.astype(np.float32))
        direction = np.float32(-scale) * gradient
        direction += self._backend.mixture(weights, pairs).reshape(gradient.shape)
        slope = of_s @ self._s_dot_g - scale * (of_y @ self._y_dot_g + self._g_dot_g)
        return direction, float(slope)

    def try_step(self, x: Array, trial: Array, gradient: Array, trial_gradient: Array) -> tuple[Array, ...]:
        """Store the pair of the step from `x` to `trial`, and return the products for `keep`.

        The products are arrays on the device. The next call overwrites the pair, unless `keep` has
        accepted it.
        """
        backend, pair = self._backend, self._pairs[self._free]
        backend.xp.subtract(trial, x, out=pair[0])
        backend.xp.subtract(trial_gradient, gradient, out=pair[1])
        of_all = self._first(max([*self.slots, self._free]) + 1)
        new_gradient, change = trial_gradient.reshape(-1), pair[1].reshape(-1)
        of_pair = backend.products(pair.reshape(2, -1), new_gradient)
        return of_pair, backend.xp.vdot(new_gradient, new_gradient), backend.products(of_all, change)

    def keep(self, products: list[float]) -> None:
        """Accept the step that was tried last, and keep its pair if its curvature is positive.

        `products` are the numbers of the arrays that `try_step` returned, in the same order.
        """
        s_dot_g, y_dot_g, self._g_dot_g, *by_y = products
        s_dot_y, y_dot_y = np.reshape(by_y, (-1, 2)).T
        count, free = len(s_dot_y), self._free
        # The new gradient is the previous gradient plus y, so its products grow by those of y.
        self._s_dot_g[:count] += s_dot_y
        self._y_dot_g[:count] += y_dot_y
        if s_dot_y[free] > 1e-10 * y_dot_y[free]:  # keeps the approximation positive definite
            self._s_dot_y[:count, free] = s_dot_y
            self._y_dot_y[:count, free] = self._y_dot_y[free, :count] = y_dot_y
            self._s_dot_g[free], self._y_dot_g[free] = s_dot_g, y_dot_g
            self.slots.append(free)
            self._free = self.slots.pop(0) if len(self.slots) > self._memory else len(self.slots)

    def _first(self, count: int) -> Array:
        """Return the arrays of the first `count` pairs as rows, (2 count, n)."""
        return self._pairs[:count].reshape(2 * count, -1)
