"""The only package that imports pyfuse3: it unpacks a request, calls fs, packs the answer."""
