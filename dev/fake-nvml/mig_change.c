/* NVML functions that change MIG. They change the text file, so that every process sees the same machine. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "edit.h"
#include "machine.h"

struct wanted {
    unsigned int gpu;
    int mode, pending;          /* ABSENT: the modes stay */
    int gpu_instance_id;        /* lines to drop; ABSENT: none */
    int compute_instance_id;    /* ABSENT: the GPU instance with all that is in it */
    int drops_all;              /* every instance of the GPU goes */
};

/* Counts the gpu lines, because their order is their index. */
static unsigned int gpu_lines_seen;

static int names_gpu(struct line *line, const struct wanted *wanted)
{
    return (unsigned int)int_of(line, "gpu", 0) == wanted->gpu;
}

static int is_dropped(struct line *line, const struct wanted *wanted)
{
    int is_instance = strcmp(line->word, "gi") == 0, is_mig = strcmp(line->word, "mig") == 0;
    if (!(is_instance || is_mig) || !names_gpu(line, wanted)) return 0;
    if (wanted->drops_all) return 1;
    int gi = int_of(line, "gi", is_mig ? int_of(line, "slot", 0) + 1 : 1);
    if (gi != wanted->gpu_instance_id) return 0;
    if (wanted->compute_instance_id == ABSENT || is_instance) return 1; /* its line is written anew */
    return is_mig && int_of(line, "ci", 0) == wanted->compute_instance_id;
}

/* What follows from the order of the lines is written down, because lines go. */
static void fix_start(struct line *line, char text[LINE_LENGTH])
{
    int gpu = int_of(line, "gpu", 0), is_mig = strcmp(line->word, "mig") == 0;
    int gi = int_of(line, "gi", is_mig ? int_of(line, "slot", 0) + 1 : 1);
    if (gpu < 0 || (unsigned int)gpu >= machine.gpu_count || text_of(line, "start", NULL) != NULL) return;
    const struct nvmlGpuInstance_st *slots = machine.instances[machine.gpu_by_index[gpu] - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (slots[i].present && (int)slots[i].id == gi) set_value(text, "start", (int)slots[i].start);
}

static int edit_line(struct line *line, char text[LINE_LENGTH], const void *context)
{
    const struct wanted *wanted = context;
    if (strcmp(line->word, "gpu") == 0 && gpu_lines_seen++ == wanted->gpu && wanted->mode != ABSENT) {
        set_value(text, "mig", wanted->mode);
        set_value(text, "pending", wanted->pending);
    }
    /* The report that is added stands for the earlier ones, so that the file does not grow with every change. */
    if (strcmp(line->word, "event") == 0 && strcmp(text_of(line, "type", "xid"), "mig") == 0) return 0;
    if (strcmp(line->word, "gi") == 0 || strcmp(line->word, "mig") == 0) fix_start(line, text);
    return !is_dropped(line, wanted);
}

static nvmlReturn_t change(const struct wanted *wanted, const char *addition)
{
    char lines[2 * LINE_LENGTH];
    unsigned long long number = machine.event_count == 0 ? 1 : machine.events[machine.event_count - 1].number + 1;
    snprintf(lines, sizeof lines, "%sevent gpu=%u type=mig n=%llu\n", addition, wanted->gpu, number);
    gpu_lines_seen = 0;
    return rewrite_file(edit_line, wanted, lines) == 0 ? NVML_SUCCESS : NVML_ERROR_NO_PERMISSION;
}

static struct wanted nothing_of(nvmlDevice_t gpu)
{
    return (struct wanted){.gpu = gpu->index, .mode = ABSENT, .gpu_instance_id = ABSENT, .compute_instance_id = ABSENT};
}

static int has_instances(nvmlDevice_t gpu)
{
    const struct nvmlGpuInstance_st *slots = machine.instances[gpu - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (slots[i].present) return 1;
    return 0;
}

/* nvml.h: the call succeeds and *activation says why the mode is only pending: in use, or a reset is required. */
static nvmlReturn_t set_mode(nvmlDevice_t gpu, int mode, nvmlReturn_t *activation)
{
    struct wanted wanted = nothing_of(gpu);
    *activation = NVML_SUCCESS;
    if (mode != gpu->mig_mode) {
        if (is_gpu_in_use(gpu) || has_instances(gpu)) *activation = NVML_ERROR_IN_USE;
        else if (gpu->mode_needs_reset) *activation = NVML_ERROR_RESET_REQUIRED;
    }
    wanted.mode = *activation == NVML_SUCCESS ? mode : gpu->mig_mode;
    wanted.pending = mode;
    return change(&wanted, "");
}

nvmlReturn_t nvmlDeviceSetMigMode(nvmlDevice_t device, unsigned int mode, nvmlReturn_t *activation)
{
    ENTER_GPU(device, activation);
    if (device->mig_mode == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    if (mode > 1) return leave(NVML_ERROR_INVALID_ARGUMENT);
    int descriptor = begin_change();
    if (descriptor < 0) return leave(NVML_ERROR_NO_PERMISSION);
    nvmlReturn_t result = set_mode(device, (int)mode, activation);
    end_change(descriptor);
    return leave(result);
}

nvmlReturn_t fakeNvmlDeviceReset(nvmlDevice_t device)
{
    ENTER_GPU(device, device);
    int descriptor = begin_change();
    if (descriptor < 0) return leave(NVML_ERROR_NO_PERMISSION);
    nvmlReturn_t result = NVML_ERROR_IN_USE;
    if (!is_gpu_in_use(device)) {
        struct wanted wanted = nothing_of(device);
        wanted.drops_all = 1;
        wanted.mode = device->mig_pending;
        wanted.pending = device->mig_pending;
        result = change(&wanted, "");
    }
    end_change(descriptor);
    return leave(result);
}

static unsigned int free_id(nvmlDevice_t gpu, const struct profile *profile)
{
    const struct nvmlGpuInstance_st *slots = machine.instances[gpu - machine.gpus];
    unsigned int id = profile->compute_slices == (unsigned int)gpu->slices ? 0 : 1; /* the whole card's is 0 */
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++) {
        if (!slots[i].present || slots[i].id != id) continue;
        id++;
        i = (size_t)-1; /* look again from the front */
    }
    return id;
}

static nvmlReturn_t create_at(nvmlDevice_t gpu, const struct profile *profile, unsigned int start,
                              nvmlGpuInstance_t *instance)
{
    char line[LINE_LENGTH], name[96];
    unsigned int id = free_id(gpu, profile);
    struct wanted wanted = nothing_of(gpu);
    format_profile_name(gpu, profile, name, sizeof name);
    snprintf(line, sizeof line, "gi gpu=%u gi=%u profile=%s start=%u\n", gpu->index, id, name, start);
    nvmlReturn_t result = change(&wanted, line);
    if (result != NVML_SUCCESS) return result;
    look_again(); /* so that the handle exists */
    nvmlGpuInstance_t slots = machine.instances[gpu - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++) {
        if (!slots[i].present || slots[i].id != id) continue;
        *instance = &slots[i];
        return NVML_SUCCESS;
    }
    return NVML_ERROR_UNKNOWN;
}

/* placement NULL: the first place that is free. */
static nvmlReturn_t create_instance(nvmlDevice_t gpu, unsigned int profile_id,
                                    const nvmlGpuInstancePlacement_t *placement, nvmlGpuInstance_t *instance)
{
    if (gpu->mig_mode != 1) return NVML_ERROR_NOT_SUPPORTED;
    const struct profile *profile = profile_by_id(gpu, profile_id);
    if (profile == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    unsigned int starts[MAX_PLACEMENTS], count = placements_of(gpu, profile, starts);
    int is_possible = placement == NULL;
    for (unsigned int i = 0; i < count; i++) {
        if (placement != NULL && placement->start != starts[i]) continue;
        is_possible = 1;
        if (is_place_free(gpu, profile, starts[i])) return create_at(gpu, profile, starts[i], instance);
    }
    return is_possible ? NVML_ERROR_INSUFFICIENT_RESOURCES : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceCreateGpuInstance(nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstance_t *instance)
{
    ENTER_GPU(device, instance);
    int descriptor = begin_change();
    if (descriptor < 0) return leave(NVML_ERROR_NO_PERMISSION);
    nvmlReturn_t result = create_instance(device, profile_id, NULL, instance);
    end_change(descriptor);
    return leave(result);
}

nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t device, unsigned int profile_id,
                                                      const nvmlGpuInstancePlacement_t *placement,
                                                      nvmlGpuInstance_t *instance)
{
    ENTER_GPU(device, instance);
    if (placement == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    int descriptor = begin_change();
    if (descriptor < 0) return leave(NVML_ERROR_NO_PERMISSION);
    nvmlReturn_t result = create_instance(device, profile_id, placement, instance);
    end_change(descriptor);
    return leave(result);
}

static int has_compute_instances(nvmlGpuInstance_t instance)
{
    const struct nvmlDevice_st *migs = machine.migs[instance->gpu - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (migs[i].present && migs[i].gpu_instance_id == (int)instance->id) return 1;
    return 0;
}

/* nvml.h: IN_USE also while compute instances are in it. */
nvmlReturn_t nvmlGpuInstanceDestroy(nvmlGpuInstance_t instance)
{
    ENTER_INSTANCE(instance, instance);
    int descriptor = begin_change();
    if (descriptor < 0) return leave(NVML_ERROR_NO_PERMISSION);
    nvmlReturn_t result = NVML_ERROR_IN_USE;
    if (!instance->present) result = NVML_ERROR_INVALID_ARGUMENT;
    else if (!has_compute_instances(instance) && !is_instance_in_use(instance, ABSENT)) {
        struct wanted wanted = nothing_of(instance->gpu);
        wanted.gpu_instance_id = (int)instance->id;
        result = change(&wanted, "");
    }
    end_change(descriptor);
    return leave(result);
}

/* As random as a real one: an instance that is made again at the same place has another name. */
static void make_uuid(char uuid[48])
{
    unsigned char bytes[16] = {0};
    (void)!getrandom(bytes, sizeof bytes, 0);
    bytes[6] = (unsigned char)((bytes[6] & 0x0F) | 0x50);
    bytes[8] = (unsigned char)((bytes[8] & 0x3F) | 0x80);
    char *to = uuid + sprintf(uuid, "MIG-");
    for (size_t i = 0; i < sizeof bytes; i++)
        to += sprintf(to, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
}

/* Lowest number that no MIG device of the GPU has; in one GPU instance: that no compute instance has. */
static int free_number(nvmlDevice_t gpu, int gpu_instance_id)
{
    const struct nvmlDevice_st *migs = machine.migs[gpu - machine.gpus];
    int number = 0;
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++) {
        if (!migs[i].present || (gpu_instance_id != ABSENT && migs[i].gpu_instance_id != gpu_instance_id)) continue;
        int taken = gpu_instance_id != ABSENT ? migs[i].compute_instance_id : (int)migs[i].index;
        if (taken != number) continue;
        number++;
        i = (size_t)-1; /* look again from the front */
    }
    return number;
}

static int slices_in_use(nvmlGpuInstance_t instance)
{
    const struct nvmlDevice_st *migs = machine.migs[instance->gpu - machine.gpus];
    int used = 0;
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (migs[i].present && migs[i].gpu_instance_id == (int)instance->id) used += migs[i].compute_instance_slices;
    return used;
}

static nvmlReturn_t create_compute_instance(nvmlGpuInstance_t instance, unsigned int profile_id, char uuid[48])
{
    static const int slices_of[] = {1, 2, 3, 4, 7};
    nvmlDevice_t gpu = instance->gpu;
    const struct profile *around = profile_by_id(gpu, instance->profile_id);
    if (!instance->present || around == NULL || profile_id >= sizeof slices_of / sizeof slices_of[0])
        return NVML_ERROR_INVALID_ARGUMENT;
    int slices = slices_of[profile_id], whole = (int)around->compute_slices;
    if (slices > whole) return NVML_ERROR_INVALID_ARGUMENT;
    if (slices_in_use(instance) + slices > whole) return NVML_ERROR_INSUFFICIENT_RESOURCES;
    char name[96], part[16] = "", line[LINE_LENGTH];
    format_profile_name(gpu, around, name, sizeof name);
    if (slices < whole) snprintf(part, sizeof part, "%dc.", slices);
    make_uuid(uuid);
    snprintf(line, sizeof line, "mig gpu=%u slot=%d gi=%u ci=%d uuid=%s profile=%s%s start=%u\n", gpu->index,
             free_number(gpu, ABSENT), instance->id, free_number(gpu, (int)instance->id), uuid, part, name,
             instance->start);
    struct wanted wanted = nothing_of(gpu);
    return change(&wanted, line);
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t instance, unsigned int profile_id,
                                                  nvmlComputeInstance_t *compute_instance)
{
    ENTER_INSTANCE(instance, compute_instance);
    char uuid[48];
    int descriptor = begin_change();
    if (descriptor < 0) return leave(NVML_ERROR_NO_PERMISSION);
    nvmlReturn_t result = create_compute_instance(instance, profile_id, uuid);
    end_change(descriptor);
    nvmlDevice_t migs = machine.migs[instance->gpu - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU && result == NVML_SUCCESS; i++)
        if (migs[i].present && strcmp(migs[i].uuid, uuid) == 0) *compute_instance = (nvmlComputeInstance_t)&migs[i];
    return leave(result);
}

/* The line of the GPU instance, which so far was known by its MIG device only. */
static void describe_instance(nvmlGpuInstance_t instance, char line[LINE_LENGTH])
{
    char name[96];
    format_profile_name(instance->gpu, profile_by_id(instance->gpu, instance->profile_id), name, sizeof name);
    snprintf(line, LINE_LENGTH, "gi gpu=%u gi=%u profile=%s start=%u\n", instance->gpu->index, instance->id, name,
             instance->start);
}

static nvmlReturn_t destroy_compute_instance(nvmlDevice_t mig)
{
    nvmlGpuInstance_t slots = machine.instances[mig->parent - machine.gpus], instance = NULL;
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (slots[i].present && (int)slots[i].id == mig->gpu_instance_id) instance = &slots[i];
    if (!mig->present || instance == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    if (is_instance_in_use(instance, mig->compute_instance_id)) return NVML_ERROR_IN_USE;
    struct wanted wanted = nothing_of(mig->parent);
    char line[LINE_LENGTH];
    describe_instance(instance, line);
    wanted.gpu_instance_id = mig->gpu_instance_id;
    wanted.compute_instance_id = mig->compute_instance_id;
    return change(&wanted, line);
}

nvmlReturn_t nvmlComputeInstanceDestroy(nvmlComputeInstance_t instance)
{
    nvmlDevice_t mig = (nvmlDevice_t)instance;
    ENTER_DEVICE(mig, mig);
    if (mig->parent == NULL) return leave(NVML_ERROR_INVALID_ARGUMENT);
    int descriptor = begin_change();
    if (descriptor < 0) return leave(NVML_ERROR_NO_PERMISSION);
    nvmlReturn_t result = destroy_compute_instance(mig);
    end_change(descriptor);
    return leave(result);
}
