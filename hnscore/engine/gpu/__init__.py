"""The engine of NVIDIA GPUs, the texts that it holds, and what is only there."""
