"""Real programs on real mounts of an emulator's bucket."""
