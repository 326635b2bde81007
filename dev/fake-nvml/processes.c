/* NVML functions about the processes on a device. */
#include "machine.h"

/* On a GPU: all of its processes; on a MIG device: those in its compute instance. */
static int runs_on(const struct process *process, nvmlDevice_t device)
{
    if (device->parent == NULL) return process->gpu == device->index;
    return process->gpu == device->parent->index && process->gpu_instance_id == device->gpu_instance_id
        && process->compute_instance_id == device->compute_instance_id;
}

/*
 * Fills `infos` (old layout) or `infos_v2` (with instance ids), whichever is given, as far as *count allows.
 * Sets *count to the number there is; INSUFFICIENT_SIZE tells the caller to come back with more room.
 */
static nvmlReturn_t list_processes(nvmlDevice_t device, char type, unsigned int *count, nvmlProcessInfo_v1_t *infos,
                                   nvmlProcessInfo_t *infos_v2)
{
    unsigned int room = infos != NULL || infos_v2 != NULL ? *count : 0, found = 0;
    for (size_t i = 0; i < machine.process_count; i++) {
        const struct process *process = &machine.processes[i];
        if (process->type != type || !runs_on(process, device)) continue;
        unsigned long long bytes = (unsigned long long)process->memory_mib * BYTES_PER_MIB;
        if (found < room && infos != NULL) infos[found] = (nvmlProcessInfo_v1_t){process->pid, bytes};
        if (found < room && infos_v2 != NULL)
            infos_v2[found] = (nvmlProcessInfo_t){process->pid, bytes, (unsigned int)process->gpu_instance_id,
                                                  (unsigned int)process->compute_instance_id};
        found++;
    }
    *count = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_v1_t *infos)
{
    ENTER_DEVICE(device, count);
    return leave(list_processes(device, 'C', count, infos, NULL));
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
    ENTER_DEVICE(device, count);
    return leave(list_processes(device, 'C', count, NULL, infos));
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
    ALIAS_OF(nvmlDeviceGetComputeRunningProcesses_v3);

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses(nvmlDevice_t device, unsigned int *count,
                                                   nvmlProcessInfo_v1_t *infos)
{
    ENTER_DEVICE(device, count);
    return leave(list_processes(device, 'G', count, infos, NULL));
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                      nvmlProcessInfo_t *infos)
{
    ENTER_DEVICE(device, count);
    return leave(list_processes(device, 'G', count, NULL, infos));
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice_t device, unsigned int *count,
                                                      nvmlProcessInfo_t *infos)
    ALIAS_OF(nvmlDeviceGetGraphicsRunningProcesses_v3);

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                        nvmlProcessInfo_t *infos)
{
    ENTER_DEVICE(device, count);
    return leave(list_processes(device, 'M', count, NULL, infos));
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long since_us)
{
    ENTER_GPU(device, count);
    if (device->mig_mode == 1) return leave(NVML_ERROR_NOT_SUPPORTED);
    unsigned int room = samples != NULL ? *count : 0, found = 0;
    unsigned long long now_us = (unsigned long long)(wall_clock_s() * 1e6);
    for (size_t i = 0; i < machine.process_count && now_us > since_us; i++) {
        const struct process *process = &machine.processes[i];
        if (!runs_on(process, device)) continue;
        if (found < room)
            samples[found] = (nvmlProcessUtilizationSample_t){
                .pid = process->pid, .timeStamp = now_us, .smUtil = (unsigned int)process->sm_utilization};
        found++;
    }
    *count = found;
    if (found == 0) return leave(NVML_ERROR_NOT_FOUND);
    return leave(found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}

int is_gpu_in_use(nvmlDevice_t gpu)
{
    for (size_t i = 0; i < machine.process_count; i++)
        if (machine.processes[i].gpu == gpu->index) return 1;
    return 0;
}

int is_instance_in_use(nvmlGpuInstance_t instance, int compute_instance_id)
{
    for (size_t i = 0; i < machine.process_count; i++) {
        const struct process *process = &machine.processes[i];
        if (process->gpu != instance->gpu->index || process->gpu_instance_id != (int)instance->id) continue;
        if (compute_instance_id == ABSENT || process->compute_instance_id == compute_instance_id) return 1;
    }
    return 0;
}
