/* NVML functions about the library, the driver and the host. */
#include <stdio.h>

#include "machine.h"

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    return start_session();
}

nvmlReturn_t nvmlInit_v2(void)
{
    return start_session();
}

nvmlReturn_t nvmlInit(void) ALIAS_OF(nvmlInit_v2);

nvmlReturn_t nvmlShutdown(void)
{
    return end_session();
}

const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_LIBRARY_NOT_FOUND: return "NVML Shared Library Not Found";
    case NVML_ERROR_FUNCTION_NOT_FOUND: return "Function Not Found";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED: return "GPU requires reset";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case NVML_ERROR_IN_USE: return "In use by another client";
    case NVML_ERROR_INSUFFICIENT_RESOURCES: return "Insufficient Resources";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument Version Mismatch";
    default: return "Unknown Error";
    }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    ENTER(version);
    return leave(copy_text(version, length, machine.driver_version));
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    ENTER(version);
    return leave(copy_text(version, length, machine.nvml_version));
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    ENTER(version);
    *version = machine.cuda_version;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) ALIAS_OF(nvmlSystemGetCudaDriverVersion_v2);

/* The real process table: `proc` lines may name pids that exist. */
nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length)
{
    ENTER(name);
    char path[64], command[512];
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return leave(NVML_ERROR_NOT_FOUND);
    size_t size = fread(command, 1, sizeof command - 1, file);
    fclose(file);
    command[size] = '\0'; /* cmdline separates arguments by NUL, so this is the program alone */
    snprintf(name, length, "%s", command);
    return leave(NVML_SUCCESS);
}
