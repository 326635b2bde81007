/* NVML functions about what lies between two GPUs. */
#include <stdio.h>
#include <string.h>

#include "machine.h"

/* What the file says; where it says nothing, one NUMA node is nearer than two. */
static unsigned int level_between(nvmlDevice_t gpu, nvmlDevice_t other)
{
    unsigned int level = machine.links[gpu->index][other->index].level;
    if (level != 0) return level;
    int is_one_node = gpu->numa_node != ABSENT && gpu->numa_node == other->numa_node;
    return is_one_node ? NVML_TOPOLOGY_NODE : NVML_TOPOLOGY_SYSTEM;
}

static int is_other_gpu(nvmlDevice_t gpu, nvmlDevice_t other)
{
    for (unsigned int index = 0; index < machine.gpu_count; index++)
        if (machine.gpu_by_index[index] == other) return other != gpu;
    return 0;
}

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t device, nvmlDevice_t other, unsigned int *level)
{
    ENTER_GPU(device, level);
    if (!is_other_gpu(device, other)) return leave(NVML_ERROR_INVALID_ARGUMENT);
    *level = level_between(device, other);
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetTopologyNearestGpus(nvmlDevice_t device, unsigned int level, unsigned int *count,
                                              nvmlDevice_t *devices)
{
    ENTER_GPU(device, count);
    unsigned int room = devices != NULL ? *count : 0, found = 0;
    for (unsigned int index = 0; index < machine.gpu_count; index++) {
        nvmlDevice_t other = machine.gpu_by_index[index];
        if (other == device || level_between(device, other) != level) continue;
        if (found < room) devices[found] = other;
        found++;
    }
    *count = found;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetP2PStatus(nvmlDevice_t device, nvmlDevice_t other, unsigned int index, unsigned int *status)
{
    ENTER_GPU(device, status);
    if (!is_other_gpu(device, other)) return leave(NVML_ERROR_INVALID_ARGUMENT);
    const struct link *link = &machine.links[device->index][other->index];
    int has_way = index == NVML_P2P_INDEX_NVLINK ? link->nvlinks > 0 || link->is_switched
                                                 : level_between(device, other) <= NVML_TOPOLOGY_HOSTBRIDGE;
    /* A GPU in MIG mode has no peers. Source: NVIDIA MIG User Guide, "Application Considerations". */
    int is_cut = device->mig_mode == 1 || other->mig_mode == 1;
    *status = has_way && !is_cut ? NVML_P2P_OK : NVML_P2P_NOT_SUPPORTED;
    return leave(NVML_SUCCESS);
}

/* Links are numbered through, those to the GPU of the lowest index first. NULL: there is no such link. */
static nvmlDevice_t peer_of_link(nvmlDevice_t gpu, unsigned int number)
{
    for (unsigned int index = 0; index < machine.gpu_count; index++) {
        unsigned int count = machine.links[gpu->index][index].nvlinks;
        if (number < count) return machine.gpu_by_index[index];
        number -= count;
    }
    return NULL;
}

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned int link, unsigned int *is_active)
{
    ENTER_GPU(device, is_active);
    if (link >= MAX_NVLINKS) return leave(NVML_ERROR_INVALID_ARGUMENT);
    if (peer_of_link(device, 0) == NULL) return leave(NVML_ERROR_NOT_SUPPORTED);
    *is_active = peer_of_link(device, link) != NULL;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned int link, nvmlPciInfo_t *pci)
{
    ENTER_GPU(device, pci);
    nvmlDevice_t peer = link < MAX_NVLINKS ? peer_of_link(device, link) : NULL;
    if (peer == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    memset(pci, 0, sizeof *pci);
    snprintf(pci->busId, sizeof pci->busId, "%s", peer->bus_id);
    sscanf(peer->bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    pci->pciDeviceId = (unsigned int)peer->pci_id;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo(nvmlDevice_t device, unsigned int link, nvmlPciInfo_t *pci)
    ALIAS_OF(nvmlDeviceGetNvLinkRemotePciInfo_v2);
