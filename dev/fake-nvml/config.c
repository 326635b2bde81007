/* Reads the text file (format: README.md) into `machine`. Mistakes in it are reported on standard error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "line.h"
#include "machine.h"

static void read_system(struct line *line)
{
    copy_of(line, "driver", machine.driver_version, sizeof machine.driver_version, machine.driver_version);
    copy_of(line, "nvml", machine.nvml_version, sizeof machine.nvml_version, machine.nvml_version);
    machine.cuda_version = int_of(line, "cuda", machine.cuda_version);
    machine.init_result = (nvmlReturn_t)int_of(line, "init", NVML_SUCCESS);
}

/* The slot that holds this UUID already, so that handles given out keep their meaning; else an unused one. */
static nvmlDevice_t slot_for(nvmlDevice_t slots, size_t count, const char *uuid)
{
    nvmlDevice_t unused = NULL, vanished = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(slots[i].uuid, uuid) == 0) return &slots[i];
        if (unused == NULL && slots[i].uuid[0] == '\0') unused = &slots[i];
        if (vanished == NULL && !slots[i].present) vanished = &slots[i];
    }
    return unused != NULL ? unused : vanished;
}

/* The counter goes on over a change of the file; energy= sets it, once per new value. */
static void read_energy(struct line *line, nvmlDevice_t gpu, const struct nvmlDevice_st *before, double mtime_s)
{
    gpu->energy_override = number_of(line, "energy", ABSENT);
    gpu->energy_mj = before->energy_mj;
    gpu->energy_at_s = before->energy_at_s;
    int is_new = before->uuid[0] == '\0';
    if (is_new || (gpu->energy_override != ABSENT && gpu->energy_override != before->energy_override)) {
        gpu->energy_mj = gpu->energy_override == ABSENT ? 0.0 : (double)gpu->energy_override;
        gpu->energy_at_s = mtime_s;
    }
}

static void read_health(struct line *line, nvmlDevice_t gpu)
{
    int has_remapper = gpu->compute_major >= 8; /* Ampere and later remap rows, the cards before retire pages */
    gpu->ecc = int_of(line, "ecc", 1);
    gpu->ecc_pending = int_of(line, "ecc_pending", gpu->ecc);
    gpu->ecc_corrected = number_of(line, "ecc_corrected", 0);
    gpu->ecc_uncorrected = number_of(line, "ecc_uncorrected", 0);
    gpu->ecc_uncorrected_ever = number_of(line, "ecc_uncorrected_ever", gpu->ecc_uncorrected);
    gpu->remap_corrected = int_of(line, "remap_corrected", 0);
    gpu->remap_uncorrected = int_of(line, "remap_uncorrected", 0);
    gpu->remap_failed = int_of(line, "remap_failed", 0);
    gpu->remap_pending = int_of(line, "remap_pending", has_remapper ? 0 : ABSENT);
    gpu->retired = int_of(line, "retired", 0);
    gpu->retired_pending = int_of(line, "retired_pending", has_remapper ? ABSENT : 0);
    gpu->recovery_action = int_of(line, "recovery", ABSENT);
    gpu->event_types = (unsigned long long)number_of(line, "events", NVML_EVENT_SINGLE_BIT_ECC
        | NVML_EVENT_DOUBLE_BIT_ECC | NVML_EVENT_XID | NVML_EVENT_CLOCK | NVML_EVENT_MIG);
}

static void read_readings(struct line *line, nvmlDevice_t gpu)
{
    gpu->memory_mib = int_of(line, "mem", 40960);
    gpu->memory_used_mib = int_of(line, "used", 0);
    gpu->utilization = int_of(line, "util", 0);
    gpu->memory_utilization = int_of(line, "memutil", 0);
    gpu->temperature = int_of(line, "temp", 35);
    gpu->fan = int_of(line, "fan", ABSENT);
    gpu->power_w = int_of(line, "power", 50);
    gpu->power_limit_w = int_of(line, "limit", 300);
    gpu->throttle_reasons = (unsigned long long)number_of(line, "throttle", gpu->utilization > 0 ? 0 : 1);
    gpu->pcie_width_max = int_of(line, "width_max", 16);
    gpu->pcie_width = int_of(line, "width", gpu->pcie_width_max);
    gpu->pcie_generation_max = int_of(line, "gen_max", 4);
    gpu->pcie_generation = int_of(line, "gen", gpu->pcie_generation_max);
}

static void read_gpu(struct line *line, double mtime_s)
{
    if (machine.gpu_count >= MAX_GPUS) {
        complain(line, "more than %d GPUs", MAX_GPUS);
        return;
    }
    unsigned int index = machine.gpu_count;
    char uuid[96], bus_id[32];
    snprintf(uuid, sizeof uuid, "GPU-00000000-0000-0000-0000-%012u", index);
    snprintf(bus_id, sizeof bus_id, "00000000:%02X:00.0", index + 1);
    nvmlDevice_t gpu = slot_for(machine.gpus, MAX_GPUS, text_of(line, "uuid", uuid));
    struct nvmlDevice_st before = *gpu;
    if (strcmp(before.uuid, text_of(line, "uuid", uuid)) != 0) memset(&before, 0, sizeof before);
    if (before.uuid[0] != '\0') advance_energy(&before, wall_clock_s());

    memset(gpu, 0, sizeof *gpu);
    gpu->present = 1;
    gpu->index = index;
    copy_of(line, "uuid", gpu->uuid, sizeof gpu->uuid, uuid);
    copy_of(line, "name", gpu->name, sizeof gpu->name, "NVIDIA A100-PCIE-40GB");
    copy_of(line, "bus", gpu->bus_id, sizeof gpu->bus_id, bus_id);
    gpu->lost = int_of(line, "lost", 0);
    gpu->minor = int_of(line, "minor", (int)index);
    gpu->pci_id = int_of(line, "pci_id", 0x20F110DE);
    gpu->numa_node = int_of(line, "numa", ABSENT);
    gpu->mig_mode = int_of(line, "mig", ABSENT);
    gpu->mig_pending = int_of(line, "pending", gpu->mig_mode);
    gpu->slices = int_of(line, "slices", 7);
    const char *capability = text_of(line, "cc", "8.0");
    if (sscanf(capability, "%d.%d", &gpu->compute_major, &gpu->compute_minor) != 2)
        complain(line, "cc=%s is not a compute capability such as 8.0", capability);
    gpu->mode_needs_reset = int_of(line, "mode_reset", gpu->compute_major < 9);
    read_readings(line, gpu);
    read_health(line, gpu);
    read_energy(line, gpu, &before, mtime_s);
    machine.gpu_by_index[machine.gpu_count++] = gpu;
}

/* "1c.3g.20gb" is one compute slice of a 3g.20gb: returns the 1 and moves *name behind the dot; 0 without one. */
static int cut_compute_slices(const char **name)
{
    int slices, length = 0;
    if (sscanf(*name, "%dc.%n", &slices, &length) != 1 || length == 0) return 0;
    *name += length;
    return slices;
}

static const struct profile *find_profile(nvmlDevice_t gpu, const char *wanted)
{
    size_t count;
    const struct profile *profiles = profiles_of(gpu->slices, &count);
    for (size_t i = 0; i < count; i++) {
        char name[96];
        format_profile_name(gpu, &profiles[i], name, sizeof name);
        if (strcmp(name, wanted) == 0) return &profiles[i];
    }
    return NULL;
}

/* The slot of a GPU instance: its own if it had one, so that handles given out keep their meaning. */
static nvmlGpuInstance_t instance_slot(nvmlDevice_t gpu, unsigned int id)
{
    nvmlGpuInstance_t slots = machine.instances[gpu - machine.gpus], free_slot = NULL;
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++) {
        if (slots[i].gpu != NULL && slots[i].id == id) return &slots[i];
        if (free_slot == NULL && !slots[i].present) free_slot = &slots[i];
    }
    return free_slot;
}

/* First memory slice behind every instance read so far. */
static unsigned int behind_all(nvmlDevice_t gpu)
{
    const struct nvmlGpuInstance_st *slots = machine.instances[gpu - machine.gpus];
    unsigned int behind = 0;
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (slots[i].present && slots[i].start + slots[i].size > behind) behind = slots[i].start + slots[i].size;
    return behind;
}

/* A GPU instance comes into being by its own line, or by the first MIG device that lies in it. */
static void join_gpu_instance(struct line *line, nvmlDevice_t gpu, unsigned int id, unsigned int profile_id,
                              unsigned int memory_slices)
{
    unsigned int start = (unsigned int)int_of(line, "start", (int)behind_all(gpu));
    nvmlGpuInstance_t slot = instance_slot(gpu, id);
    if (slot == NULL) complain(line, "more than %d GPU instances on one GPU", MAX_MIG_PER_GPU);
    else if (!slot->present) *slot = (struct nvmlGpuInstance_st){1, gpu, id, profile_id, start, memory_slices};
}

static nvmlDevice_t gpu_of(struct line *line, const char *key)
{
    int index = int_of(line, key, 0);
    if (index >= 0 && (unsigned int)index < machine.gpu_count) return machine.gpu_by_index[index];
    complain(line, "%s=%d has no gpu line above", key, index);
    return NULL;
}

static void read_gpu_instance(struct line *line)
{
    nvmlDevice_t gpu = gpu_of(line, "gpu");
    const char *name = text_of(line, "profile", "1g.5gb");
    const struct profile *profile = gpu != NULL ? find_profile(gpu, name) : NULL;
    unsigned int id = (unsigned int)int_of(line, "gi", 1);
    if (gpu == NULL) return;
    if (profile == NULL) complain(line, "GPU %u has no profile %s", gpu->index, name);
    else if (gpu->mig_mode == 1) join_gpu_instance(line, gpu, id, profile->id, profile->memory_slices);
    text_of(line, "start", NULL);
}

static void read_mig(struct line *line)
{
    nvmlDevice_t gpu = gpu_of(line, "gpu");
    if (gpu == NULL) return;
    const char *full_name = text_of(line, "profile", "1g.5gb"), *profile_name = full_name;
    int slot = int_of(line, "slot", 0), compute_slices = cut_compute_slices(&profile_name);
    const struct profile *profile = find_profile(gpu, profile_name);
    char uuid[96];
    snprintf(uuid, sizeof uuid, "MIG-00000000-0000-0000-%04u-%012d", gpu->index, slot);
    nvmlDevice_t mig = slot_for(machine.migs[gpu - machine.gpus], MAX_MIG_PER_GPU, text_of(line, "uuid", uuid));
    if (mig == NULL) {
        complain(line, "more than %d MIG devices on one GPU", MAX_MIG_PER_GPU);
        return;
    }

    memset(mig, 0, sizeof *mig);
    mig->parent = gpu;
    mig->present = gpu->mig_mode == 1; /* without MIG mode the instances are gone, whatever the file still lists */
    mig->index = (unsigned int)slot;
    copy_of(line, "uuid", mig->uuid, sizeof mig->uuid, uuid);
    snprintf(mig->name, sizeof mig->name, "%.60s MIG %.30s", gpu->name, full_name);
    mig->gpu_instance_id = int_of(line, "gi", slot + 1);
    mig->compute_instance_id = int_of(line, "ci", 0);
    mig->profile_id = int_of(line, "prof", profile != NULL ? (int)profile->id : 19);
    mig->gpu_instance_slices = int_of(line, "gis", profile != NULL ? (int)profile->compute_slices : 1);
    mig->compute_instance_slices = int_of(line, "cis", compute_slices > 0 ? compute_slices : mig->gpu_instance_slices);
    mig->multiprocessors = int_of(line, "sm", 14 * mig->compute_instance_slices);
    mig->memory_mib = int_of(line, "mem", profile != NULL ? (int)profile_memory_mib(gpu, profile) : 4864);
    mig->memory_used_mib = int_of(line, "used", 12);
    if (mig->present)
        join_gpu_instance(line, gpu, (unsigned int)mig->gpu_instance_id, (unsigned int)mig->profile_id,
                          profile != NULL ? profile->memory_slices : 1);
    else text_of(line, "start", NULL);
}

static const struct {
    const char *word;
    unsigned int level;
} link_kinds[] = {
    {"pix", NVML_TOPOLOGY_SINGLE}, {"pxb", NVML_TOPOLOGY_MULTIPLE}, {"phb", NVML_TOPOLOGY_HOSTBRIDGE},
    {"node", NVML_TOPOLOGY_NODE},  {"sys", NVML_TOPOLOGY_SYSTEM},
};

static void read_link(struct line *line)
{
    nvmlDevice_t gpu = gpu_of(line, "gpu"), peer = gpu_of(line, "peer");
    const char *word = text_of(line, "pcie", "sys");
    struct link link = {0, (unsigned int)int_of(line, "nvlink", 0), int_of(line, "nvswitch", 0)};
    for (size_t i = 0; i < sizeof link_kinds / sizeof link_kinds[0]; i++)
        if (strcmp(link_kinds[i].word, word) == 0) link.level = link_kinds[i].level;
    if (link.level == 0) complain(line, "pcie=%s is none of pix, pxb, phb, node, sys", word);
    if (gpu == NULL || peer == NULL || gpu == peer || link.level == 0) return;
    machine.links[gpu->index][peer->index] = link;
    machine.links[peer->index][gpu->index] = link;
}

static unsigned long long event_type_of(struct line *line)
{
    const char *word = text_of(line, "type", "xid");
    if (strcmp(word, "xid") == 0) return NVML_EVENT_XID;
    if (strcmp(word, "ecc") == 0) return NVML_EVENT_DOUBLE_BIT_ECC;
    if (strcmp(word, "ecc_corrected") == 0) return NVML_EVENT_SINGLE_BIT_ECC;
    if (strcmp(word, "mig") == 0) return NVML_EVENT_MIG;
    if (strcmp(word, "clock") == 0) return NVML_EVENT_CLOCK;
    complain(line, "type=%s is none of xid, ecc, ecc_corrected, mig, clock", word);
    return 0;
}

static void read_event(struct line *line)
{
    if (machine.event_count >= MAX_EVENTS) {
        complain(line, "more than %d events", MAX_EVENTS);
        return;
    }
    unsigned long long before = machine.event_count == 0 ? 0 : machine.events[machine.event_count - 1].number;
    struct event *event = &machine.events[machine.event_count++];
    event->gpu = (unsigned int)int_of(line, "gpu", 0);
    event->type = event_type_of(line);
    event->data = (unsigned long long)number_of(line, "data", 0);
    event->number = (unsigned long long)number_of(line, "n", (long long)before + 1);
    event->gpu_instance_id = int_of(line, "gi", ABSENT);
    event->compute_instance_id = int_of(line, "ci", ABSENT);
}

static void read_process(struct line *line)
{
    if (machine.process_count >= MAX_PROCESSES) {
        complain(line, "more than %d processes", MAX_PROCESSES);
        return;
    }
    struct process *process = &machine.processes[machine.process_count++];
    process->gpu = (unsigned int)int_of(line, "gpu", 0);
    process->pid = (unsigned int)int_of(line, "pid", 0);
    process->memory_mib = int_of(line, "mem", 0);
    process->sm_utilization = int_of(line, "sm", 0);
    process->gpu_instance_id = int_of(line, "gi", ABSENT);
    process->compute_instance_id = int_of(line, "ci", process->gpu_instance_id == ABSENT ? ABSENT : 0);
    process->type = text_of(line, "type", "C")[0];
}

static void read_rule(struct line *line)
{
    if (machine.rule_count >= MAX_RULES) {
        complain(line, "more than %d rules", MAX_RULES);
        return;
    }
    struct rule *rule = &machine.rules[machine.rule_count++];
    copy_of(line, "func", rule->function, sizeof rule->function, "");
    rule->gpu = int_of(line, "gpu", ABSENT);
    if (strcmp(line->word, "fail") == 0) rule->result = int_of(line, "ret", NVML_ERROR_UNKNOWN);
    else rule->milliseconds = int_of(line, "ms", 1000);
}

static void read_line(struct line *line, double mtime_s)
{
    if (strcmp(line->word, "system") == 0) read_system(line);
    else if (strcmp(line->word, "gpu") == 0) read_gpu(line, mtime_s);
    else if (strcmp(line->word, "gi") == 0) read_gpu_instance(line);
    else if (strcmp(line->word, "mig") == 0) read_mig(line);
    else if (strcmp(line->word, "link") == 0) read_link(line);
    else if (strcmp(line->word, "event") == 0) read_event(line);
    else if (strcmp(line->word, "proc") == 0) read_process(line);
    else if (strcmp(line->word, "fail") == 0 || strcmp(line->word, "delay") == 0) read_rule(line);
    else {
        complain(line, "unknown word '%s'", line->word);
        return;
    }
    for (size_t i = 0; i < line->count; i++)
        if (!line->pairs[i].asked_for) complain(line, "unknown key '%s'", line->pairs[i].key);
}

/* Everything as if nothing were plugged in. Slots keep their UUID, so that handles find their device again. */
static void forget(void)
{
    snprintf(machine.driver_version, sizeof machine.driver_version, "570.133.20");
    snprintf(machine.nvml_version, sizeof machine.nvml_version, "12.570.133.20");
    machine.cuda_version = 12080;
    machine.init_result = NVML_SUCCESS;
    machine.gpu_count = 0;
    machine.process_count = 0;
    machine.rule_count = 0;
    machine.event_count = 0;
    memset(machine.rules, 0, sizeof machine.rules);
    memset(machine.links, 0, sizeof machine.links);
    for (size_t gpu = 0; gpu < MAX_GPUS; gpu++) {
        machine.gpus[gpu].present = 0;
        for (size_t slot = 0; slot < MAX_MIG_PER_GPU; slot++) {
            machine.migs[gpu][slot].present = 0;
            machine.instances[gpu][slot].present = 0;
        }
    }
}

int load_machine(const char *path, double mtime_s)
{
    forget();
    FILE *file = fopen(path, "re");
    if (file == NULL) return -1;
    struct line line = {0};
    while (fgets(line.text, sizeof line.text, file) != NULL) {
        line.number++;
        split_line(&line);
        if (line.word != NULL) read_line(&line, mtime_s);
    }
    fclose(file);
    return 0;
}
