/* nvidia-smi --query-gpu and --query-compute-apps: comma-separated answers for scripts. */
#include <stdio.h>
#include <string.h>

#include "smi.h"

#define MIB(bytes) ((unsigned int)((bytes) >> 20))

/* One row's subject: a GPU, and in process queries one process on it. */
struct subject {
    unsigned int index;
    nvmlDevice_t gpu;
    const nvmlProcessInfo_t *process;
};

struct field {
    const char *name;
    const char *unit; /* NULL: none */
    /* Writes the bare value; returns what NVML said. */
    nvmlReturn_t (*read)(const struct subject *subject, char text[TEXT_LENGTH]);
};

static nvmlReturn_t number(nvmlReturn_t result, unsigned int value, char text[TEXT_LENGTH])
{
    snprintf(text, TEXT_LENGTH, "%u", value);
    return result;
}

static nvmlReturn_t field_index(const struct subject *subject, char text[TEXT_LENGTH])
{
    return number(NVML_SUCCESS, subject->index, text);
}

static nvmlReturn_t field_uuid(const struct subject *subject, char text[TEXT_LENGTH])
{
    return nvmlDeviceGetUUID(subject->gpu, text, TEXT_LENGTH);
}

static nvmlReturn_t field_name(const struct subject *subject, char text[TEXT_LENGTH])
{
    return nvmlDeviceGetName(subject->gpu, text, TEXT_LENGTH);
}

static nvmlReturn_t field_driver(const struct subject *subject, char text[TEXT_LENGTH])
{
    (void)subject;
    return nvmlSystemGetDriverVersion(text, TEXT_LENGTH);
}

static nvmlReturn_t field_bus(const struct subject *subject, char text[TEXT_LENGTH])
{
    nvmlPciInfo_t pci;
    nvmlReturn_t result = nvmlDeviceGetPciInfo_v3(subject->gpu, &pci);
    if (result == NVML_SUCCESS) snprintf(text, TEXT_LENGTH, "%s", pci.busId);
    return result;
}

static nvmlReturn_t field_count(const struct subject *subject, char text[TEXT_LENGTH])
{
    unsigned int count = 0;
    (void)subject;
    nvmlReturn_t result = nvmlDeviceGetCount_v2(&count);
    return number(result, count, text);
}

static nvmlReturn_t field_memory_total(const struct subject *subject, char text[TEXT_LENGTH])
{
    nvmlMemory_t memory = {0};
    nvmlReturn_t result = nvmlDeviceGetMemoryInfo(subject->gpu, &memory);
    return number(result, MIB(memory.total), text);
}

static nvmlReturn_t field_memory_free(const struct subject *subject, char text[TEXT_LENGTH])
{
    nvmlMemory_t memory = {0};
    nvmlReturn_t result = nvmlDeviceGetMemoryInfo(subject->gpu, &memory);
    return number(result, MIB(memory.free), text);
}

static nvmlReturn_t field_memory_used(const struct subject *subject, char text[TEXT_LENGTH])
{
    nvmlMemory_t memory = {0};
    nvmlReturn_t result = nvmlDeviceGetMemoryInfo(subject->gpu, &memory);
    return number(result, MIB(memory.used), text);
}

static nvmlReturn_t field_utilization(const struct subject *subject, char text[TEXT_LENGTH])
{
    nvmlUtilization_t utilization = {0};
    nvmlReturn_t result = nvmlDeviceGetUtilizationRates(subject->gpu, &utilization);
    return number(result, utilization.gpu, text);
}

static nvmlReturn_t field_memory_utilization(const struct subject *subject, char text[TEXT_LENGTH])
{
    nvmlUtilization_t utilization = {0};
    nvmlReturn_t result = nvmlDeviceGetUtilizationRates(subject->gpu, &utilization);
    return number(result, utilization.memory, text);
}

static nvmlReturn_t field_temperature(const struct subject *subject, char text[TEXT_LENGTH])
{
    unsigned int celsius = 0;
    nvmlReturn_t result = nvmlDeviceGetTemperature(subject->gpu, 0, &celsius);
    return number(result, celsius, text);
}

static nvmlReturn_t field_power(const struct subject *subject, char text[TEXT_LENGTH])
{
    unsigned int milliwatts = 0;
    nvmlReturn_t result = nvmlDeviceGetPowerUsage(subject->gpu, &milliwatts);
    snprintf(text, TEXT_LENGTH, "%.2f", milliwatts / 1000.0);
    return result;
}

static nvmlReturn_t field_power_limit(const struct subject *subject, char text[TEXT_LENGTH])
{
    unsigned int milliwatts = 0;
    nvmlReturn_t result = nvmlDeviceGetEnforcedPowerLimit(subject->gpu, &milliwatts);
    snprintf(text, TEXT_LENGTH, "%.2f", milliwatts / 1000.0);
    return result;
}

static nvmlReturn_t field_compute_capability(const struct subject *subject, char text[TEXT_LENGTH])
{
    int major = 0, minor = 0;
    nvmlReturn_t result = nvmlDeviceGetCudaComputeCapability(subject->gpu, &major, &minor);
    snprintf(text, TEXT_LENGTH, "%d.%d", major, minor);
    return result;
}

static nvmlReturn_t field_mig_current(const struct subject *subject, char text[TEXT_LENGTH])
{
    unsigned int current = 0, pending = 0;
    nvmlReturn_t result = nvmlDeviceGetMigMode(subject->gpu, &current, &pending);
    snprintf(text, TEXT_LENGTH, "%s", current ? "Enabled" : "Disabled");
    return result;
}

static nvmlReturn_t field_mig_pending(const struct subject *subject, char text[TEXT_LENGTH])
{
    unsigned int current = 0, pending = 0;
    nvmlReturn_t result = nvmlDeviceGetMigMode(subject->gpu, &current, &pending);
    snprintf(text, TEXT_LENGTH, "%s", pending ? "Enabled" : "Disabled");
    return result;
}

static nvmlReturn_t field_pid(const struct subject *subject, char text[TEXT_LENGTH])
{
    return number(NVML_SUCCESS, subject->process->pid, text);
}

static nvmlReturn_t field_used_by_process(const struct subject *subject, char text[TEXT_LENGTH])
{
    return number(NVML_SUCCESS, MIB(subject->process->usedGpuMemory), text);
}

static nvmlReturn_t field_process_name(const struct subject *subject, char text[TEXT_LENGTH])
{
    return nvmlSystemGetProcessName(subject->process->pid, text, TEXT_LENGTH);
}

static const struct field gpu_fields[] = {
    {"index", NULL, field_index},
    {"uuid", NULL, field_uuid},
    {"gpu_uuid", NULL, field_uuid},
    {"name", NULL, field_name},
    {"gpu_name", NULL, field_name},
    {"driver_version", NULL, field_driver},
    {"count", NULL, field_count},
    {"pci.bus_id", NULL, field_bus},
    {"gpu_bus_id", NULL, field_bus},
    {"compute_cap", NULL, field_compute_capability},
    {"memory.total", "MiB", field_memory_total},
    {"memory.free", "MiB", field_memory_free},
    {"memory.used", "MiB", field_memory_used},
    {"utilization.gpu", "%", field_utilization},
    {"utilization.memory", "%", field_memory_utilization},
    {"temperature.gpu", NULL, field_temperature},
    {"power.draw", "W", field_power},
    {"power.limit", "W", field_power_limit},
    {"mig.mode.current", NULL, field_mig_current},
    {"mig.mode.pending", NULL, field_mig_pending},
    {NULL, NULL, NULL},
};

static const struct field process_fields[] = {
    {"pid", NULL, field_pid},
    {"used_memory", "MiB", field_used_by_process},
    {"used_gpu_memory", "MiB", field_used_by_process},
    {"process_name", NULL, field_process_name},
    {"name", NULL, field_process_name},
    {"gpu_uuid", NULL, field_uuid},
    {"gpu_name", NULL, field_name},
    {"gpu_bus_id", NULL, field_bus},
    {NULL, NULL, NULL},
};

#define MAX_FIELDS 32

struct selection {
    const struct field *fields[MAX_FIELDS];
    size_t count;
};

/* Returns 0, or 2 after naming the field that does not exist, as the real tool does. */
static int select_fields(const char *wanted, const struct field *known, struct selection *selection)
{
    char names[1024], *rest = names;
    snprintf(names, sizeof names, "%s", wanted);
    selection->count = 0;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        name += strspn(name, " ");
        const struct field *field = known;
        while (field->name != NULL && strcmp(field->name, name) != 0) field++;
        if (field->name == NULL || selection->count == MAX_FIELDS) {
            printf("Field \"%s\" is not a valid field to query.\n\n", name);
            return 2;
        }
        selection->fields[selection->count++] = field;
    }
    return 0;
}

static void print_header(const struct selection *selection)
{
    for (size_t i = 0; i < selection->count; i++) {
        const struct field *field = selection->fields[i];
        printf("%s%s", i > 0 ? ", " : "", field->name);
        if (field->unit != NULL) printf(" [%s]", field->unit);
    }
    putchar('\n');
}

static void print_row(const struct selection *selection, const struct subject *subject, int units)
{
    for (size_t i = 0; i < selection->count; i++) {
        const struct field *field = selection->fields[i];
        char text[TEXT_LENGTH];
        nvmlReturn_t result = field->read(subject, text);
        if (i > 0) fputs(", ", stdout);
        if (result == NVML_ERROR_NOT_SUPPORTED || result == NVML_ERROR_NOT_FOUND) fputs("[N/A]", stdout);
        else if (result != NVML_SUCCESS) printf("[%s]", nvmlErrorString(result));
        else if (units && field->unit != NULL) printf("%s %s", text, field->unit);
        else fputs(text, stdout);
    }
    putchar('\n');
}

static void print_processes(const struct selection *selection, struct subject subject, int units)
{
    nvmlProcessInfo_t processes[MAX_LISTED_PROCESSES];
    unsigned int count = MAX_LISTED_PROCESSES;
    if (nvmlDeviceGetComputeRunningProcesses_v3(subject.gpu, &count, processes) != NVML_SUCCESS) return;
    for (unsigned int i = 0; i < count; i++) {
        subject.process = &processes[i];
        print_row(selection, &subject, units);
    }
}

static int print_query(const char *wanted, const struct field *known, struct csv_format format, const char *only)
{
    struct selection selection;
    int status = select_fields(wanted, known, &selection);
    if (status != 0) return status;
    if (format.header) print_header(&selection);

    unsigned int count = 0;
    nvmlDeviceGetCount_v2(&count);
    for (unsigned int index = 0; index < count; index++) {
        struct subject subject = {.index = index};
        nvmlReturn_t result = nvmlDeviceGetHandleByIndex_v2(index, &subject.gpu);
        if (result != NVML_SUCCESS) {
            printf("Unable to determine the device handle for gpu %u: %s\n", index, nvmlErrorString(result));
            status = (int)result & 0xFF;
        } else if (is_selected(only, index, subject.gpu)) {
            if (known == process_fields) print_processes(&selection, subject, format.units);
            else print_row(&selection, &subject, format.units);
        }
    }
    return status;
}

int print_gpu_query(const char *fields, struct csv_format format, const char *only)
{
    return print_query(fields, gpu_fields, format, only);
}

int print_process_query(const char *fields, struct csv_format format, const char *only)
{
    return print_query(fields, process_fields, format, only);
}
