"""NVIDIA devices through NVML in one child process. The only owner of pynvml."""
