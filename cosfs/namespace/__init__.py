"""Names and attributes: keys seen as a tree, through caches that expire."""
