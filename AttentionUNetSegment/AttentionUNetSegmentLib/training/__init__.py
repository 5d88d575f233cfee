"""Training of the networks: patches, losses, the loop, recipes, finetuning."""
