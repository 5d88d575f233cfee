"""The published comparison and ablation, repeated on one's own data.

    settings = Settings(data="pancreas-ct-slices", dimensions=2, size=128, steps=400)
    run_experiment("compare", data, folder, settings, seeds=3, folds=5)

A run is one network, trained with one seed on one fold, and has a folder of its own. A finished run
is never repeated, one that was stopped goes on, and the tables are written from whatever is
finished.
"""
