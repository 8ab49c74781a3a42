"""PyTorch: its build, and the devices that it finds."""

import shutil

import torch

from matgen.installation.finding import Finding

DRIVER = "nvidia-smi"


def pytorch_finding() -> Finding:
    """Say which PyTorch this is, and whether it finds a GPU."""
    text = torch.__version__
    found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if found:
        return Finding("PyTorch", "ok", f"{text}, {', '.join(found)}; --device cuda uses it")
    driver = shutil.which(DRIVER) is not None
    if torch.version.cuda is None and driver:
        advice = "the install command that PyTorch's page names for your CUDA; then `matgen doctor` again"
        return Finding("PyTorch", "note", f"{text}; a build for the CPU, beside an NVIDIA driver", advice)
    if torch.version.cuda is None:
        return Finding("PyTorch", "ok", f"{text}; a build for the CPU, and no GPU is seen")
    return Finding(
        "PyTorch", "note", f"{text}; a build for CUDA {torch.version.cuda}, which finds no GPU: --device cpu", DRIVER
    )
