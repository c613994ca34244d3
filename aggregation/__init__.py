"""Communication patterns, one small file each, behind one interface."""
