"""A COS-compatible server for the demo and the tests. A leaf: imports nothing else of cosfs."""
