"""The reference tasks, one file each: data, model, optimiser, step, evaluation; beside them a torch-free catalogue."""
