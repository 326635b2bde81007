/* NVML functions that find a device and say what it is. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "machine.h"

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    ENTER(count);
    *count = machine.gpu_count;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) ALIAS_OF(nvmlDeviceGetCount_v2);

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    ENTER_INDEX(index, device);
    *device = machine.gpu_by_index[index];
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device)
    ALIAS_OF(nvmlDeviceGetHandleByIndex_v2);

static nvmlDevice_t find_by_uuid(const char *uuid)
{
    for (unsigned int index = 0; index < machine.gpu_count; index++) {
        nvmlDevice_t gpu = machine.gpu_by_index[index];
        if (strcmp(gpu->uuid, uuid) == 0) return gpu;
        nvmlDevice_t migs = machine.migs[gpu - machine.gpus];
        for (size_t slot = 0; slot < MAX_MIG_PER_GPU; slot++)
            if (migs[slot].present && strcmp(migs[slot].uuid, uuid) == 0) return &migs[slot];
    }
    return NULL;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    ENTER(device);
    if (uuid == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    nvmlDevice_t found = find_by_uuid(uuid);
    if (found == NULL) return leave(NVML_ERROR_NOT_FOUND);
    if (found->lost) return leave(NVML_ERROR_GPU_IS_LOST);
    *device = found;
    return leave(NVML_SUCCESS);
}

/* Callers write the domain with four digits or eight, or leave it out: the last twelve characters decide. */
static int same_bus_id(const char *a, const char *b)
{
    size_t length_a = strlen(a), length_b = strlen(b), compared = 12;
    if (length_a < compared) compared = length_a;
    if (length_b < compared) compared = length_b;
    return compared > 0 && strcasecmp(a + length_a - compared, b + length_b - compared) == 0;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device)
{
    ENTER(device);
    if (bus_id == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned int index = 0; index < machine.gpu_count; index++) {
        if (!same_bus_id(machine.gpu_by_index[index]->bus_id, bus_id)) continue;
        if (machine.gpu_by_index[index]->lost) return leave(NVML_ERROR_GPU_IS_LOST);
        *device = machine.gpu_by_index[index];
        return leave(NVML_SUCCESS);
    }
    return leave(NVML_ERROR_NOT_FOUND);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *bus_id, nvmlDevice_t *device)
    ALIAS_OF(nvmlDeviceGetHandleByPciBusId_v2);

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
    ENTER_DEVICE(device, name);
    return leave(copy_text(name, length, device->name));
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
    ENTER_DEVICE(device, uuid);
    return leave(copy_text(uuid, length, device->uuid));
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    ENTER_DEVICE(device, index);
    *index = device->index;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor)
{
    ENTER_GPU(device, minor);
    *minor = (unsigned int)device->minor;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned int length)
{
    ENTER_GPU(device, serial);
    char text[32];
    snprintf(text, sizeof text, "132000000%04u", device->index);
    return leave(copy_text(serial, length, text));
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    ENTER_DEVICE(device, pci);
    const char *bus_id = device->parent != NULL ? device->parent->bus_id : device->bus_id;
    size_t length = strlen(bus_id);
    memset(pci, 0, sizeof *pci);
    snprintf(pci->busId, sizeof pci->busId, "%s", bus_id);
    /* The legacy field holds the domain in four digits only. */
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%.15s", bus_id + (length > 12 ? length - 12 : 0));
    sscanf(bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    pci->pciDeviceId = (unsigned int)(device->parent != NULL ? device->parent->pci_id : device->pci_id);
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_t *pci) ALIAS_OF(nvmlDeviceGetPciInfo_v3);
nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_t *pci) ALIAS_OF(nvmlDeviceGetPciInfo_v3);

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    ENTER_DEVICE(device, major);
    nvmlDevice_t gpu = device->parent != NULL ? device->parent : device;
    *major = gpu->compute_major;
    *minor = gpu->compute_minor;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetNumaNodeId(nvmlDevice_t device, unsigned int *node)
{
    ENTER_GPU(device, node);
    if (device->numa_node == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    *node = (unsigned int)device->numa_node;
    return leave(NVML_SUCCESS);
}
