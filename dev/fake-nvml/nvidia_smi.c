/*
 * A small nvidia-smi over the library: the options that scripts and container hooks use.
 *
 *   nvidia-smi                                                   a table for people
 *   nvidia-smi -L                                                GPUs and MIG devices with their UUIDs
 *   nvidia-smi --query-gpu=FIELDS --format=csv[,noheader][,nounits]
 *   nvidia-smi --query-compute-apps=FIELDS --format=csv[,noheader][,nounits]
 *   -i INDEX|UUID                                                with any of them: this GPU only
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smi.h"

struct options {
    const char *gpu_fields, *process_fields, *only;
    struct csv_format format;
    int list, wrong;
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

int main(int count, char **arguments)
{
    struct options options = parse_options(count, arguments);
    if (options.wrong) return 1;
    nvmlReturn_t result = nvmlInit_v2();
    if (result != NVML_SUCCESS) return report_failed_start(result);

    int status = 0;
    if (options.gpu_fields != NULL) status = print_gpu_query(options.gpu_fields, options.format, options.only);
    else if (options.process_fields != NULL)
        status = print_process_query(options.process_fields, options.format, options.only);
    else if (options.list) print_list(options.only);
    else print_table(options.only);
    nvmlShutdown();
    return status;
}
