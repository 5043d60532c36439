"""What a step of training costs beside PyTorch and JAX: `python -m bench.training`.

Each architecture is described once, in `architectures`, against the few operations that an
`Engine` of `engines` offers; so the work is the same by construction. A step is the loss, its
gradients, and Adam. Losses and gradients are compared before anything is timed (MISSION row K1).
What bounds each step, and what was tried, is in docs/training.md.
"""
