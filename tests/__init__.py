"""Tests; the folders mirror cosfs/."""
