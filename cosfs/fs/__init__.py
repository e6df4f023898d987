"""POSIX behaviour in domain types; runs without FUSE."""
