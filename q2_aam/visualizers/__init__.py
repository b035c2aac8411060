"""Visualizers: pages that show models, predictions and histories. A page is one file here, made of blocks."""

from . import compare_models, evaluate, importance, summarize_training


def register(plugin):
    """Register every visualizer with the plugin object."""
    for page in (evaluate, summarize_training, compare_models, importance):
        page.register(plugin)
