/* NVML functions about MIG: modes, devices, GPU instances and the profiles a GPU can be cut into. */
#include <stdio.h>
#include <string.h>

#include "machine.h"

/*
 * Profile numbers and ids by the compute slices of the device: seven (A100, H100 and later) and four (A30).
 * Source: NVIDIA MIG User Guide, "Supported MIG Profiles"; nvml.h, NVML_GPU_INSTANCE_PROFILE_*.
 */
static const struct profile seven_slices[] = {
    /* number, id, compute, memory, instances, media */
    {0x0, 19, 1, 1, 7, 0},
    {0x1, 14, 2, 2, 3, 0},
    {0x2, 9, 3, 4, 2, 0},
    {0x3, 5, 4, 4, 1, 0},
    {0x4, 0, 7, 8, 1, 0},
    {0x7, 20, 1, 1, 1, 1},
    {0x9, 15, 1, 2, 4, 0},
};

static const struct profile four_slices[] = {
    {0x0, 14, 1, 1, 4, 0},
    {0x1, 5, 2, 2, 2, 0},
    {0x3, 0, 4, 4, 1, 0},
    {0x7, 21, 1, 1, 1, 1},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const struct profile *profiles_of(int slices, size_t *count)
{
    *count = slices == 4 ? COUNT_OF(four_slices) : COUNT_OF(seven_slices);
    return slices == 4 ? four_slices : seven_slices;
}

const struct profile *profile_by_id(nvmlDevice_t gpu, unsigned int id)
{
    size_t count;
    const struct profile *profiles = profiles_of(gpu->slices, &count);
    for (size_t i = 0; i < count && gpu->mig_mode != ABSENT; i++)
        if (profiles[i].id == id) return &profiles[i];
    return NULL;
}

/*
 * An instance begins at a multiple of its memory slices; the eighth memory slice belongs to those that cover more than
 * one compute slice of memory, and a 4g begins at the front only. Source: NVIDIA MIG User Guide, "Partitioning".
 */
unsigned int placements_of(nvmlDevice_t gpu, const struct profile *profile, unsigned int starts[MAX_PLACEMENTS])
{
    unsigned int compute = (unsigned int)gpu->slices, count = 0;
    for (unsigned int start = 0; start < compute && count < profile->max_instances; start += profile->memory_slices)
        starts[count++] = start;
    if (profile->media_extensions)
        for (count = 0; count < compute; count++) starts[count] = count;
    return count;
}

int is_place_free(nvmlDevice_t gpu, const struct profile *profile, unsigned int start)
{
    const struct nvmlGpuInstance_st *slots = machine.instances[gpu - machine.gpus];
    unsigned int same = 0;
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++) {
        if (!slots[i].present) continue;
        if (slots[i].start < start + profile->memory_slices && start < slots[i].start + slots[i].size) return 0;
        same += slots[i].profile_id == profile->id;
    }
    return same < profile->max_instances;
}

unsigned int profile_memory_mib(nvmlDevice_t gpu, const struct profile *profile)
{
    unsigned int memory_slices_in_all = gpu->slices == 4 ? 4 : 8;
    return (unsigned int)gpu->memory_mib * profile->memory_slices / memory_slices_in_all;
}

void format_profile_name(nvmlDevice_t gpu, const struct profile *profile, char *name, size_t length)
{
    unsigned int gigabytes = (profile_memory_mib(gpu, profile) + 1023) / 1024;
    snprintf(name, length, "%ug.%ugb%s", profile->compute_slices, gigabytes, profile->media_extensions ? "+me" : "");
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    ENTER_GPU(device, current);
    if (device->mig_mode == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    *current = (unsigned int)device->mig_mode;
    if (pending != NULL) *pending = (unsigned int)device->mig_pending;
    return leave(NVML_SUCCESS);
}

/* nvml.h: "Returns zero if MIG is not supported or enabled." */
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count)
{
    ENTER_DEVICE(device, count);
    *count = device->parent == NULL && device->mig_mode == 1 ? (unsigned int)device->slices : 0;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *mig)
{
    ENTER_GPU(device, mig);
    if (device->mig_mode != 1) return leave(NVML_ERROR_NOT_SUPPORTED);
    nvmlDevice_t slots = machine.migs[device - machine.gpus];
    for (size_t slot = 0; slot < MAX_MIG_PER_GPU; slot++) {
        if (!slots[slot].present || slots[slot].index != index) continue;
        *mig = &slots[slot];
        return leave(NVML_SUCCESS);
    }
    return leave(NVML_ERROR_NOT_FOUND);
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig, nvmlDevice_t *device)
{
    ENTER_DEVICE(mig, device);
    if (mig->parent == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    *device = mig->parent;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig)
{
    ENTER_DEVICE(device, is_mig);
    *is_mig = device->parent != NULL;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int *id)
{
    ENTER_DEVICE(device, id);
    if (device->parent == NULL) return leave(NVML_ERROR_NOT_SUPPORTED);
    *id = (unsigned int)device->gpu_instance_id;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned int *id)
{
    ENTER_DEVICE(device, id);
    if (device->parent == NULL) return leave(NVML_ERROR_NOT_SUPPORTED);
    *id = (unsigned int)device->compute_instance_id;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes)
{
    ENTER_DEVICE(device, attributes);
    if (device->parent == NULL) return leave(NVML_ERROR_NOT_SUPPORTED);
    memset(attributes, 0, sizeof *attributes);
    attributes->multiprocessorCount = (unsigned int)device->multiprocessors;
    attributes->sharedCopyEngineCount = (unsigned int)device->gpu_instance_slices;
    attributes->gpuInstanceSliceCount = (unsigned int)device->gpu_instance_slices;
    attributes->computeInstanceSliceCount = (unsigned int)device->compute_instance_slices;
    attributes->memorySizeMB = (unsigned long long)device->memory_mib;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetAttributes(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes)
    ALIAS_OF(nvmlDeviceGetAttributes_v2);

/* Asked with the mode off, too: the answer depends on the device, not on how it is cut now. */
static const struct profile *supported_profile(nvmlDevice_t gpu, unsigned int number)
{
    size_t count;
    const struct profile *profiles = profiles_of(gpu->slices, &count);
    for (size_t i = 0; i < count && gpu->mig_mode != ABSENT; i++)
        if (profiles[i].number == number) return &profiles[i];
    return NULL;
}

static void describe_profile(nvmlDevice_t gpu, const struct profile *profile, nvmlGpuInstanceProfileInfo_t *info)
{
    *info = (nvmlGpuInstanceProfileInfo_t){
        .id = profile->id,
        .sliceCount = profile->compute_slices,
        .instanceCount = profile->max_instances,
        .multiprocessorCount = 14 * profile->compute_slices,
        .copyEngineCount = profile->compute_slices,
        .decoderCount = profile->compute_slices / 2,
        .jpegCount = profile->media_extensions,
        .ofaCount = profile->media_extensions,
        .memorySizeMB = profile_memory_mib(gpu, profile),
    };
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device, unsigned int profile,
                                                 nvmlGpuInstanceProfileInfo_t *info)
{
    ENTER_GPU(device, info);
    const struct profile *found = supported_profile(device, profile);
    if (found == NULL) return leave(NVML_ERROR_NOT_SUPPORTED);
    describe_profile(device, found, info);
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t device, unsigned int profile,
                                                  nvmlGpuInstanceProfileInfo_v2_t *info)
{
    ENTER_GPU(device, info);
    if (info->version != NVML_STRUCT_VERSION(nvmlGpuInstanceProfileInfo_v2_t, 2))
        return leave(NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    const struct profile *found = supported_profile(device, profile);
    if (found == NULL) return leave(NVML_ERROR_NOT_SUPPORTED);
    nvmlGpuInstanceProfileInfo_t first;
    describe_profile(device, found, &first);
    info->id = first.id;
    info->isP2pSupported = first.isP2pSupported;
    info->sliceCount = first.sliceCount;
    info->instanceCount = first.instanceCount;
    info->multiprocessorCount = first.multiprocessorCount;
    info->copyEngineCount = first.copyEngineCount;
    info->decoderCount = first.decoderCount;
    info->encoderCount = first.encoderCount;
    info->jpegCount = first.jpegCount;
    info->ofaCount = first.ofaCount;
    info->memorySizeMB = first.memorySizeMB;
    memcpy(info->name, "MIG ", 4);
    format_profile_name(device, found, info->name + 4, sizeof info->name - 4);
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstance_t *instances,
                                       unsigned int *count)
{
    ENTER_GPU(device, count);
    if (device->mig_mode != 1) return leave(NVML_ERROR_NOT_SUPPORTED);
    struct nvmlGpuInstance_st *all = machine.instances[device - machine.gpus];
    *count = 0;
    for (size_t i = 0; i < MAX_MIG_PER_GPU && instances != NULL; i++)
        if (all[i].present && all[i].profile_id == profile_id) instances[(*count)++] = &all[i];
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *instance)
{
    ENTER_GPU(device, instance);
    if (device->mig_mode != 1) return leave(NVML_ERROR_NOT_SUPPORTED);
    struct nvmlGpuInstance_st *all = machine.instances[device - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++) {
        if (!all[i].present || all[i].id != id) continue;
        *instance = &all[i];
        return leave(NVML_SUCCESS);
    }
    return leave(NVML_ERROR_NOT_FOUND);
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info)
{
    ENTER_INSTANCE(instance, info);
    *info = (nvmlGpuInstanceInfo_t){instance->gpu, instance->id, instance->profile_id,
                                    {instance->start, instance->size}};
    return leave(NVML_SUCCESS);
}

/* All places, taken ones too; nvml.h: creation fails where they overlap with one that exists. */
nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t device, unsigned int profile_id,
                                                           nvmlGpuInstancePlacement_t *placements, unsigned int *count)
{
    ENTER_GPU(device, count);
    if (device->mig_mode == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    const struct profile *profile = profile_by_id(device, profile_id);
    if (profile == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    unsigned int starts[MAX_PLACEMENTS], found = placements_of(device, profile, starts);
    unsigned int room = placements != NULL ? *count : 0;
    for (unsigned int i = 0; i < found && i < room; i++)
        placements[i] = (nvmlGpuInstancePlacement_t){starts[i], profile->memory_slices};
    *count = found;
    return leave(placements != NULL && found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements(nvmlDevice_t device, unsigned int profile_id,
                                                        nvmlGpuInstancePlacement_t *placements, unsigned int *count)
    ALIAS_OF(nvmlDeviceGetGpuInstancePossiblePlacements_v2);

/* How many more of the profile fit, beside what is there. */
nvmlReturn_t nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDevice_t device, unsigned int profile_id,
                                                       unsigned int *count)
{
    ENTER_GPU(device, count);
    if (device->mig_mode != 1) return leave(NVML_ERROR_NOT_SUPPORTED);
    const struct profile *profile = profile_by_id(device, profile_id);
    if (profile == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    unsigned int starts[MAX_PLACEMENTS], found = placements_of(device, profile, starts);
    *count = 0;
    for (unsigned int i = 0; i < found; i++) *count += is_place_free(device, profile, starts[i]) != 0;
    if (profile->media_extensions && *count > 1) *count = 1;
    return leave(NVML_SUCCESS);
}

/* Numbers of compute instance profiles are those of GPU instances with as many slices; so are their ids here. */
static unsigned int compute_slices_of(unsigned int profile)
{
    static const unsigned int slices[] = {1, 2, 3, 4, 7};
    return profile < COUNT_OF(slices) ? slices[profile] : 0;
}

static nvmlReturn_t describe_compute_profile(nvmlGpuInstance_t instance, unsigned int number,
                                             nvmlComputeInstanceProfileInfo_t *info)
{
    const struct profile *around = profile_by_id(instance->gpu, instance->profile_id);
    unsigned int slices = compute_slices_of(number);
    if (around == NULL || slices == 0 || slices > around->compute_slices) return NVML_ERROR_NOT_SUPPORTED;
    *info = (nvmlComputeInstanceProfileInfo_t){
        .id = number,
        .sliceCount = slices,
        .instanceCount = around->compute_slices / slices,
        .multiprocessorCount = 14 * slices,
        .sharedCopyEngineCount = slices,
    };
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t instance, unsigned int profile,
                                                          unsigned int engine_profile,
                                                          nvmlComputeInstanceProfileInfo_t *info)
{
    ENTER_INSTANCE(instance, info);
    if (engine_profile != 0) return leave(NVML_ERROR_INVALID_ARGUMENT);
    return leave(describe_compute_profile(instance, profile, info));
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfoV(nvmlGpuInstance_t instance, unsigned int profile,
                                                           unsigned int engine_profile,
                                                           nvmlComputeInstanceProfileInfo_v2_t *info)
{
    ENTER_INSTANCE(instance, info);
    if (info->version != NVML_STRUCT_VERSION(nvmlComputeInstanceProfileInfo_v2_t, 2))
        return leave(NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    if (engine_profile != 0) return leave(NVML_ERROR_INVALID_ARGUMENT);
    nvmlReturn_t result = describe_compute_profile(instance, profile, &info->info);
    if (result == NVML_SUCCESS) snprintf(info->name, sizeof info->name, "MIG %uc", info->info.sliceCount);
    return leave(result);
}

/* A compute instance and the MIG device that programs see are one thing here. */
static int lies_in(nvmlDevice_t mig, nvmlGpuInstance_t instance)
{
    return mig->present && mig->gpu_instance_id == (int)instance->id;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstances(nvmlGpuInstance_t instance, unsigned int profile_id,
                                                nvmlComputeInstance_t *instances, unsigned int *count)
{
    ENTER_INSTANCE(instance, count);
    nvmlDevice_t migs = machine.migs[instance->gpu - machine.gpus];
    unsigned int slices = compute_slices_of(profile_id);
    *count = 0;
    for (size_t i = 0; i < MAX_MIG_PER_GPU && instances != NULL; i++)
        if (lies_in(&migs[i], instance) && migs[i].compute_instance_slices == (int)slices)
            instances[(*count)++] = (nvmlComputeInstance_t)&migs[i];
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t instance, unsigned int id,
                                                   nvmlComputeInstance_t *compute_instance)
{
    ENTER_INSTANCE(instance, compute_instance);
    nvmlDevice_t migs = machine.migs[instance->gpu - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++) {
        if (!lies_in(&migs[i], instance) || migs[i].compute_instance_id != (int)id) continue;
        *compute_instance = (nvmlComputeInstance_t)&migs[i];
        return leave(NVML_SUCCESS);
    }
    return leave(NVML_ERROR_NOT_FOUND);
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t instance, nvmlComputeInstanceInfo_t *info)
{
    nvmlDevice_t mig = (nvmlDevice_t)instance;
    ENTER_DEVICE(mig, info);
    if (mig->parent == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    *info = (nvmlComputeInstanceInfo_t){.device = mig->parent, .id = (unsigned int)mig->compute_instance_id};
    info->placement.size = (unsigned int)mig->compute_instance_slices;
    for (unsigned int number = 0; compute_slices_of(number) != 0; number++)
        if (compute_slices_of(number) == (unsigned int)mig->compute_instance_slices) info->profileId = number;
    nvmlGpuInstance_t slots = machine.instances[mig->parent - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (slots[i].present && (int)slots[i].id == mig->gpu_instance_id) info->gpuInstance = &slots[i];
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlComputeInstanceGetInfo(nvmlComputeInstance_t instance, nvmlComputeInstanceInfo_t *info)
    ALIAS_OF(nvmlComputeInstanceGetInfo_v2);
