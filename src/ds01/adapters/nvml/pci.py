"""Whether the PCI bus has NVIDIA GPUs: the one question about devices that is answered without the driver."""

from pathlib import Path

from ds01.errors import BackendError

PCI_DEVICES = Path("/sys/bus/pci/devices")

_NVIDIA = "0x10de"
# VGA controllers and 3D controllers (cards without a screen output). The class has a third byte, the interface.
# Source: PCI Code and ID Assignment Specification, base class 03h; pci.ids.
_GPU_CLASSES = ("0x0300", "0x0302")


def has_nvidia_gpu(pci_devices: Path = PCI_DEVICES) -> bool:
    """Return whether an NVIDIA GPU sits on the PCI bus.

    Args:
        pci_devices: Directory with one entry for each PCI device. Source: Linux, Documentation/PCI/sysfs-pci.rst.

    Raises:
        BackendError: The directory cannot be read, so that nobody knows.
    """
    try:
        entries = sorted(pci_devices.iterdir())
    except FileNotFoundError as error:
        if pci_devices.parent.parent.is_dir():  # sysfs is there and knows no PCI: this machine has no such bus
            return False
        raise _unreadable(pci_devices, error) from error
    except OSError as error:
        raise _unreadable(pci_devices, error) from error
    return any(_is_nvidia_gpu(entry) for entry in entries)


def _is_nvidia_gpu(device: Path) -> bool:
    try:
        vendor = (device / "vendor").read_text(encoding="ascii").strip()
        device_class = (device / "class").read_text(encoding="ascii").strip()
    except FileNotFoundError:  # unplugged since the directory was listed
        return False
    except OSError as error:
        raise _unreadable(device, error) from error
    return vendor == _NVIDIA and device_class.startswith(_GPU_CLASSES)


def _unreadable(path: Path, error: OSError) -> BackendError:
    return BackendError(
        f"The PCI bus cannot be read ({path}: {error.strerror}), so it is unknown whether there are GPUs.",
        hint=f"Mount sysfs and make {PCI_DEVICES} readable.",
    )
