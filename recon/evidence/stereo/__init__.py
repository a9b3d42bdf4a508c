"""Dense stereo on the CPU: PatchMatch with slanted support windows."""
