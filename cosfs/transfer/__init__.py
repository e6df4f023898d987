"""The engines that move bytes between memory and COS, and the byte budget they share."""
