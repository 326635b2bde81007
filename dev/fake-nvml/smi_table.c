/* nvidia-smi for people: the table without arguments, and -L. */
#include <stdio.h>

#include "smi.h"

#define RULE "+------------------------------------------------------------------------------+"

/* Calls visit(index, gpu) for every GPU that can be reached and is wanted; names those that cannot. */
static void for_each_gpu(const char *only, void (*visit)(unsigned int index, nvmlDevice_t gpu))
{
    unsigned int count = 0;
    nvmlDeviceGetCount_v2(&count);
    for (unsigned int index = 0; index < count; index++) {
        nvmlDevice_t gpu;
        nvmlReturn_t result = nvmlDeviceGetHandleByIndex_v2(index, &gpu);
        if (result != NVML_SUCCESS)
            printf("Unable to determine the device handle for GPU %u: %s\n", index, nvmlErrorString(result));
        else if (is_selected(only, index, gpu))
            visit(index, gpu);
    }
}

static void for_each_mig(unsigned int index, nvmlDevice_t gpu,
                         void (*visit)(unsigned int index, unsigned int slot, nvmlDevice_t mig))
{
    unsigned int slots = 0;
    nvmlDeviceGetMaxMigDeviceCount(gpu, &slots);
    for (unsigned int slot = 0; slot < slots; slot++) {
        nvmlDevice_t mig;
        if (nvmlDeviceGetMigDeviceHandleByIndex(gpu, slot, &mig) == NVML_SUCCESS) visit(index, slot, mig);
    }
}

static void list_mig(unsigned int index, unsigned int slot, nvmlDevice_t mig)
{
    char name[TEXT_LENGTH], uuid[TEXT_LENGTH];
    (void)index;
    read_name(mig, name);
    read_uuid(mig, uuid);
    printf("  MIG %-11s Device %2u: (UUID: %s)\n", profile_in_name(name), slot, uuid);
}

static void list_gpu(unsigned int index, nvmlDevice_t gpu)
{
    char name[TEXT_LENGTH], uuid[TEXT_LENGTH];
    read_name(gpu, name);
    read_uuid(gpu, uuid);
    printf("GPU %u: %s (UUID: %s)\n", index, name, uuid);
    for_each_mig(index, gpu, list_mig);
}

void print_list(const char *only)
{
    for_each_gpu(only, list_gpu);
}

static void print_memory(nvmlDevice_t device, char text[TEXT_LENGTH])
{
    nvmlMemory_t memory;
    if (nvmlDeviceGetMemoryInfo(device, &memory) != NVML_SUCCESS) snprintf(text, TEXT_LENGTH, "N/A");
    else snprintf(text, TEXT_LENGTH, "%lluMiB / %lluMiB", memory.used >> 20, memory.total >> 20);
}

static void print_gpu(unsigned int index, nvmlDevice_t gpu)
{
    char name[TEXT_LENGTH], memory[TEXT_LENGTH], load[16] = "N/A", draw[16] = "N/A", heat[16] = "N/A";
    unsigned int celsius, milliwatts, mig_mode = 0, mig_pending = 0;
    nvmlUtilization_t utilization;
    read_name(gpu, name);
    print_memory(gpu, memory);
    if (nvmlDeviceGetUtilizationRates(gpu, &utilization) == NVML_SUCCESS)
        snprintf(load, sizeof load, "%u%%", utilization.gpu);
    if (nvmlDeviceGetPowerUsage(gpu, &milliwatts) == NVML_SUCCESS)
        snprintf(draw, sizeof draw, "%uW", milliwatts / 1000);
    if (nvmlDeviceGetTemperature(gpu, 0, &celsius) == NVML_SUCCESS) snprintf(heat, sizeof heat, "%uC", celsius);
    nvmlReturn_t mig = nvmlDeviceGetMigMode(gpu, &mig_mode, &mig_pending);
    const char *mode = mig != NVML_SUCCESS ? "-" : mig_mode ? "on" : "off";
    printf("| %3u  %-27.27s %5s %5s %20s %5s %4s |\n", index, name, heat, draw, memory, load, mode);
}

static void print_mig(unsigned int index, unsigned int slot, nvmlDevice_t mig)
{
    char name[TEXT_LENGTH], memory[TEXT_LENGTH];
    unsigned int gpu_instance = 0, compute_instance = 0;
    read_name(mig, name);
    print_memory(mig, memory);
    nvmlDeviceGetGpuInstanceId(mig, &gpu_instance);
    nvmlDeviceGetComputeInstanceId(mig, &compute_instance);
    printf("| %3u:%-2u MIG %-11.11s GI %2u  CI %2u          %20s            |\n", index, slot, profile_in_name(name),
           gpu_instance, compute_instance, memory);
}

static void print_migs(unsigned int index, nvmlDevice_t gpu)
{
    for_each_mig(index, gpu, print_mig);
}

static void print_processes(unsigned int index, nvmlDevice_t gpu)
{
    nvmlProcessInfo_t processes[MAX_LISTED_PROCESSES];
    unsigned int count = MAX_LISTED_PROCESSES;
    if (nvmlDeviceGetComputeRunningProcesses_v3(gpu, &count, processes) != NVML_SUCCESS) return;
    for (unsigned int i = 0; i < count; i++) {
        char program[TEXT_LENGTH] = "[not found]", instance[16] = "-", memory[24];
        nvmlSystemGetProcessName(processes[i].pid, program, sizeof program);
        if (processes[i].gpuInstanceId != NVML_VALUE_NONE)
            snprintf(instance, sizeof instance, "%u", processes[i].gpuInstanceId);
        snprintf(memory, sizeof memory, "%lluMiB", processes[i].usedGpuMemory >> 20);
        printf("| %3u  GI %3s  pid %8u  %-36.36s %12s |\n", index, instance, processes[i].pid, program, memory);
    }
}

void print_table(const char *only)
{
    char driver[TEXT_LENGTH] = "N/A", versions[TEXT_LENGTH + 64];
    int cuda = 0;
    nvmlSystemGetDriverVersion(driver, sizeof driver);
    nvmlSystemGetCudaDriverVersion_v2(&cuda);
    snprintf(versions, sizeof versions, "Driver %s   CUDA %d.%d", driver, cuda / 1000, cuda % 1000 / 10);
    /* Said aloud, because the name of the program says otherwise. */
    printf("%s\n| NVIDIA-SMI of fake-nvml (no real GPUs)   %35.35s |\n%s\n", RULE, versions, RULE);
    printf("| GPU  %-27s %5s %5s %20s %5s %4s |\n%s\n", "Name", "Temp", "Power", "Memory", "Util", "MIG", RULE);
    for_each_gpu(only, print_gpu);
    printf("%s\n", RULE);
    for_each_gpu(only, print_migs);
    printf("%s\n| %-76s |\n", RULE, "Processes");
    for_each_gpu(only, print_processes);
    printf("%s\n", RULE);
}
