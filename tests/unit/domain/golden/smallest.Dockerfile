# Made by ds01. Edit it as you like: your own lines are kept.

FROM ubuntu:24.04

WORKDIR /workspace

CMD ["/bin/bash"]
