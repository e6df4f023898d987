"""Tests of the emulator, on its own and under Tencent's SDK."""
