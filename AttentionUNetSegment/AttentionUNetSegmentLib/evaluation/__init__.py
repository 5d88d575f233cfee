"""How good a model is: metrics, simulated clicks, robustness, attention in figures."""
