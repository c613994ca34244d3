"""From a fleet to a launch plan to a run on its nodes, followed to its end; imports no torch."""
