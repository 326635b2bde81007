/*
 * A small nvidia-smi over the library: the options that scripts and container hooks use.
 *
 *   nvidia-smi                                                   a table for people
 *   nvidia-smi -L                                                GPUs and MIG devices with their UUIDs
 *   nvidia-smi --query-gpu=FIELDS --format=csv[,noheader][,nounits]
 *   nvidia-smi --query-compute-apps=FIELDS --format=csv[,noheader][,nounits]
 *   nvidia-smi -mig 0|1                                          turn MIG off or on
 *   nvidia-smi --gpu-reset                                       reset, which makes a pending MIG mode the present one
 *   -i INDEX|UUID                                                with any of them: this GPU only
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smi.h"

struct options {
    const char *gpu_fields, *process_fields, *only;
    struct csv_format format;
    const char *mig_mode; /* NULL: it stays */
    int list, reset, wrong;
};

static const char *value_of(const char *argument, const char *option)
{
    size_t length = strlen(option);
    return strncmp(argument, option, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

static struct options parse_options(int count, char **arguments)
{
    struct options options = {.format = {1, 1}};
    for (int i = 1; i < count; i++) {
        const char *value;
        if (strcmp(arguments[i], "-L") == 0 || strcmp(arguments[i], "--list-gpus") == 0) options.list = 1;
        else if ((value = value_of(arguments[i], "--query-gpu")) != NULL) options.gpu_fields = value;
        else if ((value = value_of(arguments[i], "--query-compute-apps")) != NULL) options.process_fields = value;
        else if ((value = value_of(arguments[i], "--id")) != NULL) options.only = value;
        else if (strcmp(arguments[i], "--gpu-reset") == 0 || strcmp(arguments[i], "-r") == 0) options.reset = 1;
        else if (strcmp(arguments[i], "-mig") == 0 && i + 1 < count) options.mig_mode = arguments[++i];
        else if (strcmp(arguments[i], "-i") == 0 && i + 1 < count) options.only = arguments[++i];
        else if ((value = value_of(arguments[i], "--format")) != NULL)
            options.format = (struct csv_format){strstr(value, "noheader") == NULL, strstr(value, "nounits") == NULL};
        else {
            printf("Invalid combination of input arguments. Unknown: %s\n", arguments[i]);
            options.wrong = 1;
        }
    }
    return options;
}

int is_selected(const char *only, unsigned int index, nvmlDevice_t gpu)
{
    if (only == NULL) return 1;
    char uuid[TEXT_LENGTH], *end;
    unsigned long wanted = strtoul(only, &end, 10);
    if (end != only && *end == '\0') return wanted == index;
    read_uuid(gpu, uuid);
    return strcmp(uuid, only) == 0;
}

void read_name(nvmlDevice_t device, char text[TEXT_LENGTH])
{
    if (nvmlDeviceGetName(device, text, TEXT_LENGTH) != NVML_SUCCESS) snprintf(text, TEXT_LENGTH, "[N/A]");
}

void read_uuid(nvmlDevice_t device, char text[TEXT_LENGTH])
{
    if (nvmlDeviceGetUUID(device, text, TEXT_LENGTH) != NVML_SUCCESS) snprintf(text, TEXT_LENGTH, "[N/A]");
}

const char *profile_in_name(const char *name)
{
    const char *found = strstr(name, "MIG ");
    return found != NULL ? found + 4 : name;
}

/* The real tool's words and exit statuses, so that scripts meet what they know. */
static int report_failed_start(nvmlReturn_t result)
{
    if (result == NVML_ERROR_DRIVER_NOT_LOADED)
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
             "Make sure that the latest NVIDIA driver is installed and running.\n");
    else
        printf("Failed to initialize NVML: %s\n", nvmlErrorString(result));
    return (int)result & 0xFF;
}

/* The real tool exits with the NVML code of what failed last. */
static int change_mode(nvmlDevice_t gpu, unsigned int index, const char *mode)
{
    nvmlReturn_t activation = NVML_SUCCESS, result = nvmlDeviceSetMigMode(gpu, strcmp(mode, "1") == 0, &activation);
    if (result != NVML_SUCCESS) printf("Unable to set MIG mode of GPU %u: %s\n", index, nvmlErrorString(result));
    else if (activation != NVML_SUCCESS)
        printf("Warning: MIG mode is in pending state for GPU %u: %s\n", index, nvmlErrorString(activation));
    else printf("Set MIG mode of GPU %u.\n", index);
    return (int)result;
}

static int reset(nvmlDevice_t gpu, unsigned int index)
{
    nvmlReturn_t result = fakeNvmlDeviceReset(gpu);
    if (result == NVML_SUCCESS) printf("GPU %u was successfully reset.\n", index);
    else printf("GPU %u could not be reset: %s\n", index, nvmlErrorString(result));
    return (int)result;
}

static int change_gpus(const struct options *options)
{
    unsigned int count = 0;
    int status = (int)nvmlDeviceGetCount_v2(&count);
    for (unsigned int index = 0; index < count; index++) {
        nvmlDevice_t gpu;
        if (nvmlDeviceGetHandleByIndex_v2(index, &gpu) != NVML_SUCCESS || !is_selected(options->only, index, gpu))
            continue;
        int result = options->reset ? reset(gpu, index) : change_mode(gpu, index, options->mig_mode);
        if (result != 0) status = result;
    }
    return status;
}

int main(int count, char **arguments)
{
    struct options options = parse_options(count, arguments);
    if (options.wrong) return 1;
    nvmlReturn_t result = nvmlInit_v2();
    if (result != NVML_SUCCESS) return report_failed_start(result);

    int status = 0;
    if (options.reset || options.mig_mode != NULL) status = change_gpus(&options);
    else if (options.gpu_fields != NULL) status = print_gpu_query(options.gpu_fields, options.format, options.only);
    else if (options.process_fields != NULL)
        status = print_process_query(options.process_fields, options.format, options.only);
    else if (options.list) print_list(options.only);
    else print_table(options.only);
    nvmlShutdown();
    return status;
}
