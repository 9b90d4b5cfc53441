"""Small suites."""

TINY = """
name: tiny
dataset: digits
teachers:
  - {name: cgtn, label: t, architecture: linear, inner_steps: 3, batch_size: 20,
     meta_batch_size: 10, latent_size: 4, meta_steps: 2}
architectures: [linear]
modes:
  - {name: gtn, label: 2_gtn, inner_steps: 2}
  - gtn
  - {name: vanilla, epochs: 2}
seeds: [0, 1]
acceptance: 0.0
perturbations:
  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}
  - {name: lbfgs-penalty, steps: 2, samples: 20, beta: [1]}
  - {name: noise, beta: [0, 0.5]}
  - {name: blur, samples: 100, beta: [0, 1]}
"""
