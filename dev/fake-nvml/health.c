/* NVML functions about errors of a device: ECC, remapped rows, retired pages, what the driver wants done. */
#include <string.h>

#include "machine.h"

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    ENTER_GPU(device, current);
    if (device->ecc == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    *current = (unsigned int)device->ecc;
    if (pending != NULL) *pending = (unsigned int)device->ecc_pending;
    return leave(NVML_SUCCESS);
}

/* type 0: corrected errors, 1: uncorrected. counter 0: since the driver was loaded, 1: ever. */
static nvmlReturn_t ecc_errors(nvmlDevice_t device, unsigned int type, unsigned int counter, unsigned long long *errors)
{
    if (device->ecc != 1) return NVML_ERROR_NOT_SUPPORTED;
    if (type > 1 || counter > 1) return NVML_ERROR_INVALID_ARGUMENT;
    long long uncorrected = counter == 0 ? device->ecc_uncorrected : device->ecc_uncorrected_ever;
    *errors = (unsigned long long)(type == 0 ? device->ecc_corrected : uncorrected);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, unsigned int type, unsigned int counter,
                                         unsigned long long *errors)
{
    ENTER_GPU(device, errors);
    return leave(ecc_errors(device, type, counter, errors));
}

nvmlReturn_t nvmlDeviceGetDetailedEccErrors(nvmlDevice_t device, unsigned int type, unsigned int counter,
                                            nvmlEccErrorCounts_t *errors)
{
    ENTER_GPU(device, errors);
    memset(errors, 0, sizeof *errors);
    return leave(ecc_errors(device, type, counter, &errors->deviceMemory));
}

/* All errors are counted at location 2, the device memory. */
nvmlReturn_t nvmlDeviceGetMemoryErrorCounter(nvmlDevice_t device, unsigned int type, unsigned int counter,
                                             unsigned int location, unsigned long long *errors)
{
    ENTER_GPU(device, errors);
    nvmlReturn_t result = ecc_errors(device, type, counter, errors);
    if (result == NVML_SUCCESS && location != 2) *errors = 0;
    return leave(result);
}

/*
 * nvml.h: "For MIG-enabled GPUs with active instances, querying the number of remapped rows is not supported".
 */
static int hides_remapped_rows(nvmlDevice_t gpu)
{
    const struct nvmlGpuInstance_st *slots = machine.instances[gpu - machine.gpus];
    for (size_t i = 0; i < MAX_MIG_PER_GPU; i++)
        if (slots[i].present) return 1;
    return 0;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected,
                                       unsigned int *is_pending, unsigned int *has_failed)
{
    ENTER_GPU(device, corrected);
    if (device->remap_pending == ABSENT || hides_remapped_rows(device)) return leave(NVML_ERROR_NOT_SUPPORTED);
    *corrected = (unsigned int)device->remap_corrected;
    *uncorrected = (unsigned int)device->remap_uncorrected;
    *is_pending = (unsigned int)device->remap_pending;
    *has_failed = (unsigned int)device->remap_failed;
    return leave(NVML_SUCCESS);
}

/* All of them were retired because of double bit errors, which is cause 1. */
nvmlReturn_t nvmlDeviceGetRetiredPages(nvmlDevice_t device, unsigned int cause, unsigned int *count,
                                       unsigned long long *addresses)
{
    ENTER_GPU(device, count);
    if (device->retired_pending == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    unsigned int retired = cause == 1 ? (unsigned int)device->retired : 0, room = addresses != NULL ? *count : 0;
    for (unsigned int i = 0; i < retired && i < room; i++) addresses[i] = 0x10000ULL * (i + 1);
    *count = retired;
    return leave(retired > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetRetiredPagesPendingStatus(nvmlDevice_t device, unsigned int *is_pending)
{
    ENTER_GPU(device, is_pending);
    if (device->retired_pending == ABSENT) return leave(NVML_ERROR_NOT_SUPPORTED);
    *is_pending = (unsigned int)device->retired_pending;
    return leave(NVML_SUCCESS);
}

/* The call succeeds and every field says whether it is supported: so do drivers older than a field. */
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values)
{
    ENTER_DEVICE(device, values);
    for (int i = 0; i < count; i++) {
        values[i].nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
        if (values[i].fieldId != NVML_FIELD_RECOVERY_ACTION || device->parent != NULL) continue;
        if (device->recovery_action == ABSENT) continue;
        values[i].nvmlReturn = NVML_SUCCESS;
        values[i].valueType = NVML_VALUE_UNSIGNED_INT;
        values[i].value = (unsigned long long)device->recovery_action;
    }
    return leave(NVML_SUCCESS);
}
