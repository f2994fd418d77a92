"""What messages look like: schemas inferred and pinned, drift between them, and how numbers are written."""
