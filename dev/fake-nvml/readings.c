/* NVML functions that measure a device. */
#include <string.h>

#include "machine.h"

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    ENTER_DEVICE(device, memory);
    memory->total = (unsigned long long)device->memory_mib * BYTES_PER_MIB;
    memory->used = (unsigned long long)device->memory_used_mib * BYTES_PER_MIB;
    memory->free = memory->total - memory->used;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    ENTER_DEVICE(device, memory);
    if (memory->version != NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2)) return leave(NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    memory->total = (unsigned long long)device->memory_mib * BYTES_PER_MIB;
    memory->used = (unsigned long long)device->memory_used_mib * BYTES_PER_MIB;
    memory->reserved = 0;
    memory->free = memory->total - memory->used;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *memory)
{
    ENTER_DEVICE(device, memory);
    memory->total = 65536 * BYTES_PER_MIB;
    memory->used = 2 * BYTES_PER_MIB;
    memory->free = memory->total - memory->used;
    return leave(NVML_SUCCESS);
}

/* Real drivers give no utilisation for a MIG device, nor for a GPU whose MIG mode is on. */
static int has_utilization(nvmlDevice_t device)
{
    return device->parent == NULL && device->mig_mode != 1;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
    ENTER_DEVICE(device, utilization);
    if (!has_utilization(device)) return leave(NVML_ERROR_NOT_SUPPORTED);
    utilization->gpu = (unsigned int)device->utilization;
    utilization->memory = (unsigned int)device->memory_utilization;
    return leave(NVML_SUCCESS);
}

/* Video engines are always idle here. */
static nvmlReturn_t video_utilization(nvmlDevice_t device, unsigned int *percent, unsigned int *period_us)
{
    if (!has_utilization(device)) return NVML_ERROR_NOT_SUPPORTED;
    *percent = 0;
    *period_us = 167000;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int *percent, unsigned int *period_us)
{
    ENTER_DEVICE(device, percent);
    return leave(video_utilization(device, percent, period_us));
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int *percent, unsigned int *period_us)
{
    ENTER_DEVICE(device, percent);
    return leave(video_utilization(device, percent, period_us));
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned int sensor, unsigned int *celsius)
{
    ENTER_GPU(device, celsius);
    if (sensor != 0) return leave(NVML_ERROR_INVALID_ARGUMENT);
    *celsius = (unsigned int)device->temperature;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *temperature)
{
    ENTER_GPU(device, temperature);
    if (temperature->version != NVML_STRUCT_VERSION(nvmlTemperature_t, 1))
        return leave(NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    temperature->temperature = device->temperature;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t device, unsigned int *percent)
{
    ENTER_GPU(device, percent);
    if (device->fan == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    *percent = (unsigned int)device->fan;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *milliwatts)
{
    ENTER_GPU(device, milliwatts);
    *milliwatts = (unsigned int)device->power_w * 1000;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned int *milliwatts)
{
    ENTER_GPU(device, milliwatts);
    *milliwatts = (unsigned int)device->power_limit_w * 1000;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device, unsigned int *milliwatts)
    ALIAS_OF(nvmlDeviceGetPowerManagementLimit);
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int *milliwatts)
    ALIAS_OF(nvmlDeviceGetPowerManagementLimit);

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *millijoules)
{
    ENTER_GPU(device, millijoules);
    advance_energy(device, wall_clock_s());
    *millijoules = (unsigned long long)device->energy_mj;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned int type, unsigned int *megahertz)
{
    ENTER_GPU(device, megahertz);
    unsigned int compute = device->utilization > 0 ? 1410 : 210;
    *megahertz = type == NVML_CLOCK_MEM ? 1215 : compute;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, unsigned int type, unsigned int *megahertz)
{
    ENTER_GPU(device, megahertz);
    *megahertz = type == NVML_CLOCK_MEM ? 1215 : 1410;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons)
{
    ENTER_GPU(device, reasons);
    *reasons = device->throttle_reasons;
    return leave(NVML_SUCCESS);
}

/* The older name; not an alias, so that a `fail` line can take away one of the two as an old driver does. */
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons)
{
    ENTER_GPU(device, reasons);
    *reasons = device->throttle_reasons;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, unsigned int *state)
{
    ENTER_GPU(device, state);
    *state = 0;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, unsigned int *mode)
{
    ENTER_GPU(device, mode);
    *mode = 1;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, unsigned int *mode)
{
    ENTER_DEVICE(device, mode);
    *mode = 0;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetDisplayMode(nvmlDevice_t device, unsigned int *mode)
{
    ENTER_DEVICE(device, mode);
    *mode = 0;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t device, unsigned int *active)
{
    ENTER_DEVICE(device, active);
    *active = 0;
    return leave(NVML_SUCCESS);
}

/* Driver models exist on Windows only. */
nvmlReturn_t nvmlDeviceGetDriverModel_v2(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    ENTER_DEVICE(device, current);
    (void)pending;
    return leave(NVML_ERROR_NOT_SUPPORTED);
}

nvmlReturn_t nvmlDeviceGetDriverModel(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
    ALIAS_OF(nvmlDeviceGetDriverModel_v2);

nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, unsigned int counter, unsigned int *kib_per_s)
{
    ENTER_GPU(device, kib_per_s);
    (void)counter;
    *kib_per_s = 0;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t device, unsigned int *lanes)
{
    ENTER_GPU(device, lanes);
    *lanes = (unsigned int)device->pcie_width;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t device, unsigned int *lanes)
{
    ENTER_GPU(device, lanes);
    *lanes = (unsigned int)device->pcie_width_max;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t device, unsigned int *generation)
{
    ENTER_GPU(device, generation);
    *generation = (unsigned int)device->pcie_generation;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t device, unsigned int *generation)
{
    ENTER_GPU(device, generation);
    *generation = (unsigned int)device->pcie_generation_max;
    return leave(NVML_SUCCESS);
}
