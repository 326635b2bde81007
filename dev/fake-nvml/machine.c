/* Storage of the pretended machine, and the entry and exit of every NVML call. */
#include "machine.h"

#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct machine machine;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int sessions; /* nvmlInit minus nvmlShutdown */

/* What tells two versions of the file apart: a rename gives a new inode, an edit a new time or size. */
struct file_version {
    ino_t inode;
    off_t size;
    struct timespec changed;
    int exists;
};

const char *config_path(void)
{
    const char *path = getenv("FAKE_NVML_CONF");
    return path != NULL ? path : "/etc/fake_nvml.conf";
}

static int same_version(const struct file_version *a, const struct file_version *b)
{
    return a->exists == b->exists && a->inode == b->inode && a->size == b->size
        && a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* Called with the lock held. */
void look_again(void)
{
    static struct file_version loaded;
    static int loaded_once;
    struct file_version current = {0};
    struct stat status;

    if (stat(config_path(), &status) == 0) {
        current.exists = 1;
        current.inode = status.st_ino;
        current.size = status.st_size;
        current.changed = status.st_mtim;
    }
    if (loaded_once && same_version(&loaded, &current)) return;
    double mtime_s = (double)current.changed.tv_sec + (double)current.changed.tv_nsec / 1e9;
    machine.readable = load_machine(config_path(), mtime_s) == 0;
    loaded = current;
    loaded_once = 1;
}

double wall_clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void advance_energy(nvmlDevice_t gpu, double now_s)
{
    if (now_s <= gpu->energy_at_s) return; /* a clock set back must not lower the counter */
    gpu->energy_mj += gpu->power_w * 1000.0 * (now_s - gpu->energy_at_s);
    gpu->energy_at_s = now_s;
}

static int rule_matches(const struct rule *rule, const char *function, int gpu)
{
    return strcmp(rule->function, function) == 0 && (rule->gpu == ABSENT || rule->gpu == gpu);
}

/* Sleep without the lock, so that a hanging call does not hang the other threads' calls. */
static void sleep_unlocked(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    pthread_mutex_unlock(&lock);
    while (nanosleep(&left, &left) != 0) { }
    pthread_mutex_lock(&lock);
}

/* Delay first, then look at the file again: it may have been replaced while the call hung. */
static nvmlReturn_t apply_rules(const char *function, int gpu)
{
    for (size_t i = 0; i < machine.rule_count; i++) {
        if (machine.rules[i].milliseconds > 0 && rule_matches(&machine.rules[i], function, gpu)) {
            sleep_unlocked(machine.rules[i].milliseconds);
            look_again();
            break;
        }
    }
    for (size_t i = 0; i < machine.rule_count; i++) {
        if (machine.rules[i].result != NVML_SUCCESS && rule_matches(&machine.rules[i], function, gpu))
            return (nvmlReturn_t)machine.rules[i].result;
    }
    return NVML_SUCCESS;
}

static int is_known_handle(nvmlDevice_t device)
{
    for (size_t gpu = 0; gpu < MAX_GPUS; gpu++) {
        if (device == &machine.gpus[gpu]) return 1;
        if (device >= machine.migs[gpu] && device < machine.migs[gpu] + MAX_MIG_PER_GPU) return 1;
    }
    return 0;
}

/* What every call but nvmlInit begins with. The lock stays held, whatever the result, until leave(). */
static nvmlReturn_t begin(void)
{
    pthread_mutex_lock(&lock);
    if (sessions == 0) return NVML_ERROR_UNINITIALIZED;
    look_again();
    return machine.readable ? NVML_SUCCESS : NVML_ERROR_DRIVER_NOT_LOADED;
}

nvmlReturn_t enter(const char *function)
{
    nvmlReturn_t result = begin();
    return result != NVML_SUCCESS ? result : apply_rules(function, ABSENT);
}

nvmlReturn_t enter_device(const char *function, nvmlDevice_t device)
{
    nvmlReturn_t result = begin();
    if (result != NVML_SUCCESS) return result;
    if (device == NULL || !is_known_handle(device)) return NVML_ERROR_INVALID_ARGUMENT;
    /* Rules name GPUs by index; a MIG device counts as its GPU. */
    nvmlDevice_t gpu = device->parent != NULL ? device->parent : device;
    result = apply_rules(function, (int)gpu->index);
    if (result != NVML_SUCCESS) return result;
    if (!gpu->present || gpu->lost) return NVML_ERROR_GPU_IS_LOST;
    return device->present ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT; /* a destroyed MIG device */
}

nvmlReturn_t enter_index(const char *function, unsigned int index)
{
    nvmlReturn_t result = begin();
    if (result == NVML_SUCCESS) result = apply_rules(function, (int)index);
    if (result != NVML_SUCCESS) return result;
    if (index >= machine.gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    return machine.gpu_by_index[index]->lost ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

nvmlReturn_t enter_instance(const char *function, nvmlGpuInstance_t instance)
{
    nvmlReturn_t result = begin();
    if (result != NVML_SUCCESS) return result;
    const struct nvmlGpuInstance_st *first = &machine.instances[0][0];
    if (instance < first || instance >= first + MAX_GPUS * MAX_MIG_PER_GPU || instance->gpu == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    result = apply_rules(function, (int)instance->gpu->index);
    if (result != NVML_SUCCESS) return result;
    if (!instance->gpu->present || instance->gpu->lost) return NVML_ERROR_GPU_IS_LOST;
    return instance->present ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT; /* a destroyed one */
}

void pause_unlocked(int milliseconds)
{
    sleep_unlocked(milliseconds);
    look_again();
}

/* The folder is what gets locked: the file itself is another one after each change. */
int begin_change(void)
{
    char path[1024];
    if (snprintf(path, sizeof path, "%s", config_path()) >= (int)sizeof path) return -1;
    int descriptor = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return -1;
    if (flock(descriptor, LOCK_EX) != 0) {
        close(descriptor);
        return -1;
    }
    look_again();
    return descriptor;
}

void end_change(int descriptor)
{
    look_again();
    close(descriptor);
}

nvmlReturn_t leave(nvmlReturn_t result)
{
    pthread_mutex_unlock(&lock);
    return result;
}

nvmlReturn_t start_session(void)
{
    pthread_mutex_lock(&lock);
    look_again();
    if (!machine.readable) return leave(NVML_ERROR_DRIVER_NOT_LOADED);
    nvmlReturn_t result = apply_rules("nvmlInitWithFlags", ABSENT);
    if (result == NVML_SUCCESS) result = machine.init_result;
    if (result == NVML_SUCCESS) sessions++;
    return leave(result);
}

nvmlReturn_t end_session(void)
{
    pthread_mutex_lock(&lock);
    if (sessions == 0) return leave(NVML_ERROR_UNINITIALIZED);
    sessions--;
    return leave(NVML_SUCCESS);
}

nvmlReturn_t copy_text(char *target, unsigned int length, const char *text)
{
    if (target == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    size_t needed = strlen(text) + 1;
    if (needed > length) return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(target, text, needed);
    return NVML_SUCCESS;
}
