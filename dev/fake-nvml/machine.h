/*
 * The pretended machine: what the text file said when it was last read, and the entry every NVML call takes.
 *
 * machine.c owns the storage, config.c fills it from the file; the files that hold the NVML functions (system.c,
 * device.c, readings.c, health.c, processes.c, mig.c, topology.c, events.c) only read it, between enter() and leave().
 * mig_change.c changes the file through edit.c, and reads it again.
 */
#ifndef FAKE_NVML_MACHINE_H
#define FAKE_NVML_MACHINE_H

#include <stddef.h>

#include "nvml_abi.h"

#define MAX_GPUS 32
#define MAX_MIG_PER_GPU 16 /* slots: more than a GPU can hold, so that handles of destroyed ones stay apart */
#define MAX_PROCESSES 512
#define MAX_RULES 64
#define MAX_EVENTS 256
#define MAX_NVLINKS 18
#define BYTES_PER_MIB 1048576ULL
#define ABSENT (-1) /* value of a key that was left out and has no default */

/* One schedulable device. GPUs and MIG devices share a struct because callers hold both as nvmlDevice_t. */
struct nvmlDevice_st {
    int present;                  /* in the file now; a vanished device keeps its slot so old handles stay safe */
    int lost;                     /* present but fallen off the bus: every call answers GPU_IS_LOST */
    unsigned int index;           /* GPU: line order in the file; MIG device: slot= */
    char uuid[96];
    char name[96];
    int memory_mib, memory_used_mib;
    /* GPUs only */
    char bus_id[32];
    int minor, pci_id, numa_node;
    int compute_major, compute_minor;
    int utilization, memory_utilization; /* percent */
    int temperature, fan;
    int power_w, power_limit_w;
    double energy_mj;             /* counter at energy_at_s, see advance_energy() */
    double energy_at_s;
    long long energy_override;    /* last energy= seen; a new value sets the counter */
    unsigned long long throttle_reasons;
    int ecc, ecc_pending;         /* ABSENT: no ECC memory */
    long long ecc_corrected, ecc_uncorrected, ecc_uncorrected_ever;
    int pcie_width, pcie_width_max, pcie_generation, pcie_generation_max;
    int mig_mode, mig_pending;    /* ABSENT: the device cannot do MIG */
    int slices;                   /* compute slices of the whole device */
    int mode_needs_reset;         /* a change of the MIG mode waits for a reset, as on A100 and A30 */
    unsigned long long event_types;
    int remap_corrected, remap_uncorrected, remap_pending, remap_failed; /* remap_pending ABSENT: no remapper */
    int retired, retired_pending; /* retired_pending ABSENT: no page retirement */
    int recovery_action;          /* ABSENT: a driver that does not know the field */
    /* MIG devices only */
    struct nvmlDevice_st *parent; /* NULL: this is a GPU */
    int gpu_instance_id, compute_instance_id, profile_id, multiprocessors;
    int gpu_instance_slices, compute_instance_slices;
};

/* A GPU instance: one or more MIG devices (compute instances) of a GPU share it. */
struct nvmlGpuInstance_st {
    int present;
    nvmlDevice_t gpu;
    unsigned int id, profile_id, start, size; /* start and size in memory slices */
};

/* How two GPUs are connected: `link` lines. */
struct link {
    unsigned int level;   /* NVML_TOPOLOGY_*; 0: nothing was said */
    unsigned int nvlinks; /* how many NVLinks run between them */
    int is_switched;      /* they reach each other by NVLink through switches */
};

/* What the driver reports: `event` lines. */
struct event {
    unsigned int gpu;
    unsigned long long number; /* grows from line to line */
    unsigned long long type, data;
    int gpu_instance_id, compute_instance_id;
};

struct process {
    unsigned int gpu, pid;
    int memory_mib, sm_utilization;
    int gpu_instance_id, compute_instance_id; /* ABSENT: not in a MIG instance */
    char type;                                /* C compute, G graphics, M through MPS */
};

/* A call that must fail or hang: `fail` and `delay` lines. */
struct rule {
    char function[64];
    int gpu;          /* ABSENT: any */
    int result;       /* 0: this is a delay */
    int milliseconds; /* 0: this is a failure */
};

struct machine {
    int readable; /* the file could be read: the driver is loaded */
    char driver_version[80], nvml_version[80];
    int cuda_version;
    nvmlReturn_t init_result;
    struct nvmlDevice_st gpus[MAX_GPUS];
    struct nvmlDevice_st migs[MAX_GPUS][MAX_MIG_PER_GPU];
    struct nvmlGpuInstance_st instances[MAX_GPUS][MAX_MIG_PER_GPU];
    nvmlDevice_t gpu_by_index[MAX_GPUS];
    unsigned int gpu_count;
    struct process processes[MAX_PROCESSES];
    size_t process_count;
    struct rule rules[MAX_RULES];
    size_t rule_count;
    struct link links[MAX_GPUS][MAX_GPUS]; /* by index, both ways */
    struct event events[MAX_EVENTS];
    size_t event_count;
};

extern struct machine machine;

/* A kind of GPU instance the device can be cut into. */
struct profile {
    unsigned int number;         /* NVML_GPU_INSTANCE_PROFILE_* that callers ask with */
    unsigned int id;             /* what nvidia-smi prints */
    unsigned int compute_slices, memory_slices, max_instances;
    unsigned int media_extensions;
};

/* Where the file is. */
const char *config_path(void);

/* Read the file at path into `machine`; mtime_s is when it was last changed. Returns 0, or -1 if unreadable. */
int load_machine(const char *path, double mtime_s);

/* Profiles of a device with that many compute slices; *count says how many. */
const struct profile *profiles_of(int slices, size_t *count);

/* "1g.5gb" and the like: slices and memory rounded up to GB, as the driver names them. */
void format_profile_name(nvmlDevice_t gpu, const struct profile *profile, char *name, size_t length);

/* The profile with that id; NULL: the device has none, or cannot do MIG. */
const struct profile *profile_by_id(nvmlDevice_t gpu, unsigned int id);

/* Fill `starts` with the memory slices at which an instance can begin, and return how many there are. */
#define MAX_PLACEMENTS 8
unsigned int placements_of(nvmlDevice_t gpu, const struct profile *profile, unsigned int starts[MAX_PLACEMENTS]);

/* Nothing lies in these memory slices, and the device may hold another instance of the profile. */
int is_place_free(nvmlDevice_t gpu, const struct profile *profile, unsigned int start);

/* Somebody computes on the device; on a GPU instance, in it. */
int is_gpu_in_use(nvmlDevice_t gpu);
int is_instance_in_use(nvmlGpuInstance_t instance, int compute_instance_id);

unsigned int profile_memory_mib(nvmlDevice_t gpu, const struct profile *profile);

double wall_clock_s(void);

/* Bring the energy counter of a GPU up to now: it grows with the power the file says. */
void advance_energy(nvmlDevice_t gpu, double now_s);

/* Lock, re-read the file if it changed, apply delay and fail rules. For calls that name no device. */
nvmlReturn_t enter(const char *function);

/* The same, and check the handle. */
nvmlReturn_t enter_device(const char *function, nvmlDevice_t device);

/* The same for calls that name a GPU by index before a handle exists. */
nvmlReturn_t enter_index(const char *function, unsigned int index);

/* Unlock; hands its argument through, so that every function ends with `return leave(result)`. */
nvmlReturn_t leave(nvmlReturn_t result);

/* The same for calls about a GPU instance, which needs its GPU in MIG mode. */
nvmlReturn_t enter_instance(const char *function, nvmlGpuInstance_t instance);

/* Between enter and leave: read the file again if it changed. */
void look_again(void);

/* The same, after a sleep without the lock. */
void pause_unlocked(int milliseconds);

/*
 * Between enter and leave: keep other processes from changing the file, and read its newest state; and let them again,
 * after reading what was changed. Returns a descriptor for the second, or -1: the file may not be changed.
 */
int begin_change(void);
void end_change(int descriptor);

/* For nvmlInit and nvmlShutdown only. */
nvmlReturn_t start_session(void);
nvmlReturn_t end_session(void);

/* Copy text into a caller's buffer the way NVML does it. */
nvmlReturn_t copy_text(char *target, unsigned int length, const char *text);

/*
 * First line of an NVML function: leave with the error that `entered` is, or with INVALID_ARGUMENT when the caller
 * gave no room for the answer. Macros, because they return from the function and need its name, which is what
 * `fail` and `delay` lines refer to.
 */
#define LEAVE_UNLESS(entered, answer)                                                                                  \
    do {                                                                                                               \
        nvmlReturn_t result_of_entry = (entered);                                                                      \
        if (result_of_entry == NVML_SUCCESS && (answer) == NULL) result_of_entry = NVML_ERROR_INVALID_ARGUMENT;        \
        if (result_of_entry != NVML_SUCCESS) return leave(result_of_entry);                                            \
    } while (0)

#define ENTER(answer) LEAVE_UNLESS(enter(__func__), answer)
#define ENTER_DEVICE(device, answer) LEAVE_UNLESS(enter_device(__func__, device), answer)
#define ENTER_INSTANCE(instance, answer) LEAVE_UNLESS(enter_instance(__func__, instance), answer)
#define ENTER_INDEX(index, answer) LEAVE_UNLESS(enter_index(__func__, index), answer)

/* The same for readings that exist only on a whole GPU: MIG devices answer NOT_SUPPORTED as real drivers do. */
#define ENTER_GPU(device, answer)                                                                                      \
    do {                                                                                                               \
        ENTER_DEVICE(device, answer);                                                                                  \
        if ((device)->parent != NULL) return leave(NVML_ERROR_NOT_SUPPORTED);                                          \
    } while (0)

/* Older and newer names of one function. */
#define ALIAS_OF(function) __attribute__((alias(#function)))

#endif
