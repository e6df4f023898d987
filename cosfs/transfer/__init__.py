"""The engines that move bytes between memory, disk and COS, and the byte budget they share."""
