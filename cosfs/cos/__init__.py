"""COS as an HTTP service: buckets, keys, parts. Has never heard of files."""
