# Made by ds01. Edit it as you like: your own lines are kept.

FROM ubuntu:24.04

# The Python of an image is nobody else's: pip may install into it (PEP 668)
ENV PIP_BREAK_SYSTEM_PACKAGES=1

WORKDIR /workspace

CMD ["/bin/bash"]
