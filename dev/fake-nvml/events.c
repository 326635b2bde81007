/* NVML functions by which a program waits for reports of the driver. */
#include <string.h>

#include "machine.h"

#define MAX_EVENT_SETS 64
#define LOOK_EVERY_MS 10

struct nvmlEventSet_st {
    int used;
    unsigned long long seen;            /* number of the last event that was there or was handed out */
    unsigned long long types[MAX_GPUS]; /* by slot of the GPU; 0: nobody asked */
};

static struct nvmlEventSet_st sets[MAX_EVENT_SETS];

static unsigned long long newest_number(void)
{
    return machine.event_count == 0 ? 0 : machine.events[machine.event_count - 1].number;
}

static int is_known_set(nvmlEventSet_t set)
{
    return set >= sets && set < sets + MAX_EVENT_SETS && set->used;
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
    ENTER(set);
    for (size_t i = 0; i < MAX_EVENT_SETS; i++) {
        if (sets[i].used) continue;
        memset(&sets[i], 0, sizeof sets[i]);
        sets[i].used = 1;
        sets[i].seen = newest_number();
        *set = &sets[i];
        return leave(NVML_SUCCESS);
    }
    return leave(NVML_ERROR_INSUFFICIENT_RESOURCES);
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
    ENTER(set);
    if (!is_known_set(set)) return leave(NVML_ERROR_INVALID_ARGUMENT);
    set->used = 0;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types)
{
    ENTER_GPU(device, types);
    *types = device->event_types;
    return leave(NVML_SUCCESS);
}

/* nvml.h: one type that the device does not know, and none is registered. */
nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set)
{
    ENTER_GPU(device, set);
    if (!is_known_set(set)) return leave(NVML_ERROR_INVALID_ARGUMENT);
    if ((types & ~device->event_types) != 0) return leave(NVML_ERROR_NOT_SUPPORTED);
    set->types[device - machine.gpus] |= types;
    return leave(NVML_SUCCESS);
}

/* The next event that the set asked for; NULL: none yet. */
static const struct event *next_event(nvmlEventSet_t set)
{
    if (set->seen > newest_number()) set->seen = newest_number(); /* the file was replaced by one with fewer */
    for (size_t i = 0; i < machine.event_count; i++) {
        const struct event *event = &machine.events[i];
        if (event->number <= set->seen) continue;
        set->seen = event->number;
        if (event->gpu >= machine.gpu_count) continue;
        if (set->types[machine.gpu_by_index[event->gpu] - machine.gpus] & event->type) return event;
    }
    return NULL;
}

static int has_lost_gpu(nvmlEventSet_t set)
{
    for (size_t gpu = 0; gpu < MAX_GPUS; gpu++)
        if (set->types[gpu] != 0 && (!machine.gpus[gpu].present || machine.gpus[gpu].lost)) return 1;
    return 0;
}

/* nvml.h: GPU_IS_LOST when a registered GPU has fallen off the bus; what was reported before that comes first. */
nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms)
{
    ENTER(data);
    if (!is_known_set(set)) return leave(NVML_ERROR_INVALID_ARGUMENT);
    double deadline_s = wall_clock_s() + timeout_ms / 1000.0;
    for (;;) {
        if (!machine.readable) return leave(NVML_ERROR_DRIVER_NOT_LOADED);
        const struct event *event = next_event(set);
        if (event != NULL) {
            *data = (nvmlEventData_t){machine.gpu_by_index[event->gpu], event->type, event->data,
                                      (unsigned int)event->gpu_instance_id, (unsigned int)event->compute_instance_id};
            return leave(NVML_SUCCESS);
        }
        if (has_lost_gpu(set)) return leave(NVML_ERROR_GPU_IS_LOST);
        if (wall_clock_s() >= deadline_s) return leave(NVML_ERROR_TIMEOUT);
        pause_unlocked(LOOK_EVERY_MS);
        if (!is_known_set(set)) return leave(NVML_ERROR_INVALID_ARGUMENT); /* freed by another thread */
    }
}

nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_v1_t *data, unsigned int timeout_ms)
{
    nvmlEventData_t newer;
    if (data == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t result = nvmlEventSetWait_v2(set, &newer, timeout_ms);
    if (result == NVML_SUCCESS) *data = (nvmlEventData_v1_t){newer.device, newer.eventType, newer.eventData};
    return result;
}
