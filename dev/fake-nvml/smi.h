/* The parts of the small nvidia-smi. */
#ifndef FAKE_NVML_SMI_H
#define FAKE_NVML_SMI_H

#include "nvml_abi.h"

#define TEXT_LENGTH 128
#define MAX_LISTED_PROCESSES 512

/* How --query-... prints. */
struct csv_format {
    int header, units;
};

/* Both return an exit status: 0, or 2 for a field that does not exist. `only`: one GPU (-i), NULL for all. */
int print_gpu_query(const char *fields, struct csv_format format, const char *only);
int print_process_query(const char *fields, struct csv_format format, const char *only);

/* nvidia-smi -L */
void print_list(const char *only);

/* nvidia-smi without arguments */
void print_table(const char *only);

/* Whether `only` (an index, a UUID, or NULL for all) names this GPU. */
int is_selected(const char *only, unsigned int index, nvmlDevice_t gpu);

/* Answers as text, "[N/A]" where the driver has none. */
void read_name(nvmlDevice_t device, char text[TEXT_LENGTH]);
void read_uuid(nvmlDevice_t device, char text[TEXT_LENGTH]);

/* The profile in a MIG device's name: "... MIG 1g.5gb" -> "1g.5gb". */
const char *profile_in_name(const char *name);

#endif
