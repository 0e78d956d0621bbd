"""Minimisation on NumPy or CuPy arrays by L-BFGS.

It finds features whose next levels are a given target (Liao et al. 2017, section 4.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..backends import Array, Tick
from .progress import ignore

MEMORY = 8
"""How many pairs of (step, change of gradient) approximate the curvature."""
_ARMIJO = 1e-4
"""A step must bring at least this share of the decrease that the slope promises (Armijo's condition)."""
_ATTEMPTS = 6
"""Step lengths to try before the minimum counts as reached: float32 cannot tell finer ones apart."""


def minimise(
    xp: Any,
    function: Callable[[Array], tuple[Any, Array]],
    start: Array,
    iterations: int,
    tick: Tick = ignore,
    heard: Tick = ignore,
) -> tuple[Array, float]:
    """Minimise `function`, x -> (value, gradient like x), from `start`. Returns (x, value), never worse than the start.

    Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4) with a backtracking line search. The first step goes down
    the gradient by 3 % of the length of x (by 1 if x is zero). From then on the curvature sets the scale. `tick` is told
    after each call of the function, and `heard` its value before the next.

    A value is a number, or an array of one. Numbers are read from the device once for each call of the function: with the
    slope that led to it, which is nearly always negative, and what its step would be worth to the history.
    """
    x = start
    value_there, gradient = function(x)
    tick(1 / (iterations + 1))
    history: deque[tuple[Array, Array, float]] = deque(maxlen=MEMORY)
    direction = _direction(xp, gradient, history)
    value, slope, square = _read(xp, value_there, xp.vdot(gradient, direction), xp.vdot(x, x))
    heard(value)
    for iteration in range(iterations):
        slope_there: Any = slope
        length = 1.0
        if iteration:
            direction = _direction(xp, gradient, history)
            slope_there = xp.vdot(gradient, direction)
        elif not slope < 0:
            break
        if not history:
            if iteration:
                slope, square = _read(xp, slope_there, xp.vdot(x, x))
            if not slope < 0:
                break
            length = (0.03 * square**0.5 or 1.0) / (-slope) ** 0.5
        for _attempt in range(_ATTEMPTS):
            trial = x + xp.float32(length) * direction
            there, trial_gradient = function(trial)
            tick((iteration + 2) / (iterations + 1))
            step, change = trial - x, trial_gradient - gradient
            trial_value, slope, product, bend = _read(
                xp, there, slope_there, xp.vdot(step, change), xp.vdot(change, change)
            )
            heard(trial_value)
            if not slope < 0:
                return x, value
            if trial_value <= value + _ARMIJO * length * slope:
                break
            # The minimum of the parabola through the values at both ends and the slope, kept within bounds.
            curvature = 2 * (trial_value - value - length * slope)
            best = -slope * length**2 / curvature if curvature > 0 else 0.5 * length
            length = min(max(best, 0.02 * length), 0.5 * length)
        else:
            break
        if product > 1e-10 * bend:  # keeps the approximation positive definite
            history.append((step, change, product))
        x, value, gradient = trial, trial_value, trial_gradient
    return x, value


def _read(xp: Any, *values: Any) -> list[float]:
    """Numbers, and arrays of one, at once."""
    numbers: list[float] = xp.stack([xp.asarray(value) for value in values]).tolist()
    return numbers


def _direction(xp: Any, gradient: Array, history: deque[tuple[Array, Array, float]]) -> Array:
    """- H gradient by the two-loop recursion, with the latest curvature as the first guess of H."""
    q = -gradient
    coefficients = []
    for step, change, product in reversed(history):
        coefficient = xp.vdot(step, q) / product
        q = q - coefficient * change
        coefficients.append(coefficient)
    if history:
        step, change, product = history[-1]
        q = q * (product / xp.vdot(change, change))
    for (step, change, product), coefficient in zip(history, reversed(coefficients), strict=True):
        q = q + (coefficient - xp.vdot(change, q) / product) * step
    return q
