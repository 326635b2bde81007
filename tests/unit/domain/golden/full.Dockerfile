# Made by ds01. Edit it as you like: your own lines are kept.
# DS01 Custom Image: thesis
# Created: 2026-01-31
# Framework: Pytorch-2.8.0-aime
# Author: alice

FROM aimehub/pytorch-2.8.0-aime-cuda12.6.3

LABEL aime.mlc.MAINTAINER="alice"
LABEL aime.mlc.CUSTOM_IMAGE="thesis"
LABEL aime.mlc.FRAMEWORK="Pytorch-2.8.0-aime"
LABEL aime.mlc.DS01_USE_CASE="cv"
LABEL aime.mlc.DS01_CREATED="2026-01-31"
LABEL org.opencontainers.image.title="Thesis"

# The Python of an image is nobody else's: pip may install into it (PEP 668)
ENV PIP_BREAK_SYSTEM_PACKAGES=1

# System packages
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    git \
    curl \
    wget \
    vim \
    htop \
    ffmpeg \
    && rm -rf /var/lib/apt/lists/*

# Conda packages
RUN conda install -y --override-channels -c nvidia -c conda-forge \
    cuda-nvcc=12.6 \
    'gdal>=3.8,<4' \
    && conda clean -afy

# Packages from requirements.txt
# Source: requirements.txt
RUN printf '%s\n' \
    '--extra-index-url https://download.pytorch.org/whl/cu126' \
    'tomli; python_version < "3.11"' \
    'six==1.16.0 --hash=sha256:8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a' \
    > /tmp/ds01-requirements.txt
RUN printf '%s\n' \
    'urllib3<2' \
    > /tmp/ds01-constraints.txt
RUN pip install --no-cache-dir -r /tmp/ds01-requirements.txt -c /tmp/ds01-constraints.txt && rm -f /tmp/ds01-requirements.txt /tmp/ds01-constraints.txt

# Jupyter & Interactive
RUN pip install --no-cache-dir \
    jupyterlab \
    ipykernel \
    ipywidgets

# Core Data Science
RUN pip install --no-cache-dir \
    'pandas>=2.0' \
    scikit-learn

# Use case specific packages
RUN pip install --no-cache-dir \
    timm \
    albumentations

# Additional user packages
RUN pip install --no-cache-dir \
    'uvicorn[standard]' \
    'torchmetrics<2,>=1'

# Custom additional packages
RUN pip install --no-cache-dir \
    'sam @ git+https://github.com/example/sam.git@main'

# Files
COPY ["models/start.bin", "/opt/models/start.bin"]

# Configure Jupyter Lab
RUN mkdir -p /etc/jupyter && printf '%s\n' \
    'c.ServerApp.ip = "0.0.0.0"' \
    'c.ServerApp.open_browser = False' \
    'c.ServerApp.root_dir = "/workspace"' \
    > /etc/jupyter/jupyter_server_config.py

# IPython kernel
RUN python3 -m ipykernel install --sys-prefix \
    --name thesis \
    --display-name 'thesis (Pytorch-2.8.0-aime)'

# Environment variables
ENV PYTHONUNBUFFERED=1
ENV CUDA_DEVICE_ORDER=PCI_BUS_ID
ENV HF_HOME=/workspace/.cache/huggingface
ENV TORCH_HOME=/workspace/.cache/torch
ENV MPLCONFIGDIR=/workspace/.cache/matplotlib
ENV GREETING="costs \$5, says \"hello\""

WORKDIR /workspace

CMD ["/bin/bash"]
