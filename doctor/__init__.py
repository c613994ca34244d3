"""What can be wrong with this machine, its settings and its leftovers, and how to mend it."""
