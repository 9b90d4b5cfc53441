"""Former names of suite keys, of values and of perturbations. An error message about one gives the current name."""

from __future__ import annotations

KEYS = {
    "ball": "norm",
    "beta_is": "beta_parameter",
    "colour": "color",
    "drives": "beta_parameter",
    "exam_size": "meta_batch_size",
    "memory": "history_size",
    "relative_step": "relative_step_size",
    "searches": "binary_search_steps",
}
NAMES = {"quantisation": "quantization"}
VALUES = {"any": "untargeted"}
