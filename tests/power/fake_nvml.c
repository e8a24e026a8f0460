/* A libnvidia-ml.so.1 without a GPU: what a meter of NVIDIA GPUs asks, answered from a text file.
 *
 * fake_nvml_library.py compiles it, and the real nvidia-ml-py loads it through LD_LIBRARY_PATH. The environment
 * variable FAKE_NVML names a file of lines `key = value`; `#` begins a comment. A key may begin with the number of a
 * GPU: `1.name = NVIDIA T4` is GPU 1's name, `name = ...` that of every GPU that has none of its own. Later lines win.
 * It is read by nvmlInit; a key that is not known ends the process.
 *
 * Where a value changes over time it is written `first SECONDS:next SECONDS:next ...`: `temperature = 40 2.5:71`.
 * STATUS is ok, zero (the number 0), garbage (4294967295 mW, 18e18 mJ), a word of `statuses` below, or NVML's number.
 *
 * key                default           meaning
 * clock              virtual           virtual: time stands still and is set by fake_nvml_set_time_ns; real:
 *                                      CLOCK_MONOTONIC since the first nvmlInit
 * call_us            0                 how long each nvmlDeviceGetFieldValues and nvmlDeviceGetPowerUsage takes, in
 *                                      virtual time; the reading is of its middle
 * gpus               1                 how many
 * driver             550.54.15
 * cuda_driver        12040
 * return.FUNCTION    ok                STATUS that this function of NVML answers, for all GPUs or one; may change
 * name               NVIDIA RTX A5000
 * uuid               GPU-0000000N-1111-2222-3333-444444444444, N is the number of the GPU
 * mig_uuid                             UUID of one MIG instance of the GPU; none by default
 * architecture       7                 NVML_DEVICE_ARCH_*
 * capability         8.6               compute capability
 * vbios              94.02.6A.00.01
 *
 * power              constant 100      the true power in W, by time in s:
 *                                      constant W | step W_BEFORE W_AFTER AT | ramp W_FROM W_TO START END |
 *                                      square W_OFF W_ON PERIOD DUTY [PHASE]: W_ON from PHASE for DUTY * PERIOD |
 *                                      process W_IDLE W_PER_CORE: idle + the CPU time that the process uses
 * instant, average, usage   ok         STATUS of field 186, of field 185, of nvmlDeviceGetPowerUsage; may change
 * instant.window, .period, .phase, and of average and usage      0.1 0.1 0 (average: 1 0.1 0)  seconds:
 *                                      at PHASE + k PERIOD the mean of the true power over the last WINDOW appears
 * gain               1                 factor of powers and of the counter
 * step_mw            1                 powers are multiples of this
 * scopes             gpu               gpu, module or both: for which scopes the fields 185 and 186 are there
 * module_w           200               what a module draws besides its GPU
 * energy             ok                STATUS of the counter, of field 83 and of nvmlDeviceGetTotalEnergyConsumption
 * energy_field       ok                STATUS of field 83 alone: ok or a failure
 * energy.period, .phase   0.1 0        the counter is moved at PHASE + k PERIOD
 * energy.start_mj    1000000           what it stands at when time is 0
 * energy.jump_mj     0                 is added; may change
 * energy.reset_s     never             when the driver was loaded again: the counter begins with 0
 *
 * temperature 45, sm_clock 1695, memory_clock 8001, throttle 0 (bits), pstate 0, utilisation 50: may change; a STATUS
 *                    word instead of a number for what is not there
 * limit_mw 230000, default_limit_mw 230000, enforced_limit_mw 230000, persistence 1, application_sm_clock 1695,
 * application_memory_clock 8001, max_sm_clock 2100, max_memory_clock 8001, ecc 0, mig not_supported, pcie_generation 4,
 * pcie_width 16, compute_processes 0, graphics_processes 0: likewise
 * own_process        0                 1: the first of the processes is the one that asks
 *
 * With -DOLD_DRIVER=520 it lacks what came later: fields 185 and 186, the clocks' event reasons under their new name,
 * _v3 of the running processes. With -DOLD_DRIVER=375 it also lacks field values, the energy counter, architectures
 * and MIG.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef OLD_DRIVER
#define OLD_DRIVER 9999
#endif
#define EXPORT __attribute__((visibility("default")))

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { MAX_LINES = 256, MAX_LINE = 512, MAX_GPUS = 16, MAX_CHANGES = 16, MAX_HISTORY = 1 << 16 };
enum { ZERO = -1, GARBAGE = -2 };
#define GARBAGE_VALUE 4294967295.0

static const struct { const char *word; int status; } statuses[] = {
    {"ok", OK}, {"zero", ZERO}, {"garbage", GARBAGE}, {"invalid", INVALID}, {"not_supported", NOT_SUPPORTED},
    {"no_permission", 4}, {"not_found", NOT_FOUND}, {"driver_not_loaded", 9}, {"function_not_found", 13},
    {"gpu_lost", 15}, {"version_mismatch", 18}, {"unknown", 999},
};

/* ---- The file. ---- */

/* "name." is the beginning of keys. */
static const char *const known[] = {
    "clock", "call_us", "gpus", "driver", "cuda_driver", "return.", "name", "uuid", "mig_uuid", "architecture",
    "capability", "vbios", "power", "instant", "average", "usage", "instant.", "average.", "usage.", "gain", "step_mw",
    "scopes", "module_w", "energy", "energy_field", "energy.", "temperature", "sm_clock", "memory_clock", "throttle",
    "pstate", "utilisation", "limit_mw", "default_limit_mw", "enforced_limit_mw", "persistence",
    "application_sm_clock", "application_memory_clock", "max_sm_clock", "max_memory_clock", "ecc", "mig",
    "pcie_generation", "pcie_width", "compute_processes", "graphics_processes", "own_process",
};

static struct { char key[96], value[MAX_LINE]; } lines[MAX_LINES];
static int line_count;

static char *trimmed(char *text) {
    while (*text == ' ' || *text == '\t') text++;
    for (char *end = text + strlen(text); end > text && strchr(" \t\r\n", end[-1]); end--) end[-1] = 0;
    return text;
}

static void give_up(const char *what, const char *text) {
    fprintf(stderr, "fake_nvml: %s: %s\n", what, text);
    exit(99);
}

static void check_key(const char *key) {
    const char *own = key + strspn(key, "0123456789");
    if (own != key && *own == '.') key = own + 1;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i]);
        if (known[i][length - 1] == '.' ? !strncmp(key, known[i], length) : !strcmp(key, known[i])) return;
    }
    give_up("no such key", key);
}

static void read_lines(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) give_up("FAKE_NVML names no file", path ? path : "");
    char line[MAX_LINE];
    line_count = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "#")] = 0;
        char *text = trimmed(line), *equals = strchr(text, '=');
        if (!*text) continue;
        if (!equals || line_count == MAX_LINES) give_up("not `key = value`, or too many lines", text);
        *equals = 0;
        snprintf(lines[line_count].key, sizeof lines[0].key, "%s", trimmed(text));
        snprintf(lines[line_count++].value, sizeof lines[0].value, "%s", trimmed(equals + 1));
        check_key(lines[line_count - 1].key);
    }
    fclose(file);
}

static const char *find(const char *key) {
    for (int i = line_count - 1; i >= 0; i--)
        if (!strcmp(lines[i].key, key)) return lines[i].value;
    return NULL;
}

static const char *text_of(int gpu, const char *key, const char *otherwise) {
    char own[128];
    snprintf(own, sizeof own, "%d.%s", gpu, key);
    const char *value = find(own);
    if (!value) value = find(key);
    return value ? value : otherwise;
}

static double number(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *trimmed(end)) give_up("not a number", text);
    return value;
}

static double number_of(int gpu, const char *key, double otherwise) {
    const char *text = text_of(gpu, key, NULL);
    return text ? number(text) : otherwise;
}

/* ---- Values that change over time. ---- */

typedef struct { int count, status[MAX_CHANGES]; double since_s[MAX_CHANGES], value[MAX_CHANGES]; } Script;

static void parse_entry(const char *text, int *status, double *value) {
    *status = OK;
    *value = 0;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (!strcmp(statuses[i].word, text)) {
            *status = statuses[i].status;
            return;
        }
    *value = number(text);
}

static Script script_of(int gpu, const char *key, const char *otherwise) {
    char text[MAX_LINE];
    snprintf(text, sizeof text, "%s", text_of(gpu, key, otherwise));
    Script script = {0};
    char *rest = NULL;
    for (char *entry = strtok_r(text, " ", &rest); entry; entry = strtok_r(NULL, " ", &rest)) {
        if (script.count == MAX_CHANGES) give_up("too many changes", key);
        char *colon = strchr(entry, ':');
        if (colon) *colon = 0;
        script.since_s[script.count] = colon ? number(entry) : -INFINITY;
        parse_entry(colon ? colon + 1 : entry, &script.status[script.count], &script.value[script.count]);
        script.count++;
    }
    return script;
}

static int index_at(const Script *script, double time_s) {
    int i = script->count - 1;
    while (i > 0 && script->since_s[i] > time_s) i--;
    return i;
}

/* Of a script of STATUS: bare numbers are NVML's numbers. */
static int status_at(const Script *script, double time_s) {
    int i = index_at(script, time_s);
    return script->status[i] != OK ? script->status[i] : (int)script->value[i];
}

/* ---- The true power, and its integral. ---- */

typedef enum { CONSTANT, STEP, RAMP, SQUARE, PROCESS } Shape;
typedef struct { Shape shape; double p[5]; } Signal;

static Signal signal_of(int gpu) {
    static const char *names[] = {"constant", "step", "ramp", "square", "process"};
    static const int wanted[] = {1, 3, 4, 4, 2};
    const char *text = text_of(gpu, "power", "constant 100");
    char word[16] = "";
    Signal signal = {0};
    int used = 0;
    sscanf(text, "%15s%n", word, &used);
    int got = sscanf(text + used, "%lf %lf %lf %lf %lf", &signal.p[0], &signal.p[1], &signal.p[2], &signal.p[3],
                     &signal.p[4]);
    for (int i = 0; i < 5; i++)
        if (!strcmp(word, names[i]) && got >= wanted[i]) {
            signal.shape = (Shape)i;
            return signal;
        }
    give_up("no such power", text);
    return signal;
}

static struct { double time_s, cpu_s; } history[MAX_HISTORY]; /* a ring: entry n is at n % MAX_HISTORY */
static long history_count;

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void note_cpu_time(double time_s) {
    if (history_count && history[(history_count - 1) % MAX_HISTORY].time_s >= time_s) return;
    history[history_count % MAX_HISTORY].time_s = time_s;
    history[history_count++ % MAX_HISTORY].cpu_s = seconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* CPU time at an instant, on straight lines between the calls that noted it. */
static double cpu_time(double time_s) {
    long low = history_count > MAX_HISTORY ? history_count - MAX_HISTORY : 0, high = history_count - 1;
    if (time_s <= history[low % MAX_HISTORY].time_s) return history[low % MAX_HISTORY].cpu_s;
    if (time_s >= history[high % MAX_HISTORY].time_s) return history[high % MAX_HISTORY].cpu_s;
    while (high - low > 1) {
        long middle = (low + high) / 2;
        if (history[middle % MAX_HISTORY].time_s <= time_s) low = middle; else high = middle;
    }
    double t0 = history[low % MAX_HISTORY].time_s, t1 = history[high % MAX_HISTORY].time_s;
    double c0 = history[low % MAX_HISTORY].cpu_s, c1 = history[high % MAX_HISTORY].cpu_s;
    return c0 + (c1 - c0) * (time_s - t0) / (t1 - t0);
}

/* Seconds from 0 to x in which a square wave that starts with its on part is on. */
static double on_time(double x, double period, double duty) {
    double whole = floor(x / period);
    return whole * duty * period + fmin(x - whole * period, duty * period);
}

/* Joules from time 0 to t, negative for t < 0. */
static double integral(const Signal *signal, double t) {
    const double *p = signal->p;
    switch (signal->shape) {
    case CONSTANT: return p[0] * t;
    case STEP: return p[0] * t + (p[1] - p[0]) * (fmax(t - p[2], 0) - fmax(-p[2], 0));
    case RAMP: {
        double slope = (p[1] - p[0]) / (p[3] - p[2]), a = fmax(t - p[2], 0), b = fmax(t - p[3], 0);
        double a0 = fmax(-p[2], 0), b0 = fmax(-p[3], 0);
        return p[0] * t + slope / 2 * (a * a - b * b - a0 * a0 + b0 * b0);
    }
    case SQUARE:
        return p[0] * t + (p[1] - p[0]) * (on_time(t - p[4], p[2], p[3]) - on_time(-p[4], p[2], p[3]));
    case PROCESS: return p[0] * t + p[1] * cpu_time(t);
    }
    return 0;
}

/* ---- GPUs. ---- */

typedef struct { Script status; double window, period, phase; } Sensor;
typedef struct {
    int number, mig; /* mig: this handle is that of its instance */
    Signal power;
    Sensor instant, average, usage;
    Script energy, energy_field, energy_jump_mj;
    double energy_period, energy_phase, energy_start_mj, energy_reset_s, gain, step_mw, module_w;
    char scopes[16];
} Gpu;

static Gpu gpus[MAX_GPUS], instances[MAX_GPUS];
static int gpu_count, users, real_clock;
static double started_s, call_s;
static int64_t virtual_ns;

EXPORT void fake_nvml_set_time_ns(int64_t time_ns) { virtual_ns = time_ns; }
EXPORT int64_t fake_nvml_time_ns(void) { return virtual_ns; }
EXPORT int fake_nvml_users(void) { return users; }

static double now_s(void) {
    return real_clock ? seconds(CLOCK_MONOTONIC) - started_s : 1e-9 * (double)virtual_ns;
}

static double call_time_s(void) {
    double time_s = now_s() + (real_clock ? 0 : call_s / 2);
    if (!real_clock) virtual_ns += (int64_t)llround(1e9 * call_s);
    note_cpu_time(time_s);
    return time_s;
}

static Sensor sensor_of(int gpu, const char *name, double window) {
    char key[64];
    Sensor sensor = {.status = script_of(gpu, name, "ok")};
    snprintf(key, sizeof key, "%s.window", name);
    sensor.window = number_of(gpu, key, window);
    snprintf(key, sizeof key, "%s.period", name);
    sensor.period = number_of(gpu, key, 0.1);
    snprintf(key, sizeof key, "%s.phase", name);
    sensor.phase = number_of(gpu, key, 0);
    return sensor;
}

static void set_up(Gpu *gpu, int i) {
    *gpu = (Gpu){.number = i, .power = signal_of(i)};
    gpu->instant = sensor_of(i, "instant", 0.1);
    gpu->average = sensor_of(i, "average", 1);
    gpu->usage = sensor_of(i, "usage", 0.1);
    gpu->energy = script_of(i, "energy", "ok");
    gpu->energy_field = script_of(i, "energy_field", "ok");
    gpu->energy_jump_mj = script_of(i, "energy.jump_mj", "0");
    gpu->energy_period = number_of(i, "energy.period", 0.1);
    gpu->energy_phase = number_of(i, "energy.phase", 0);
    gpu->energy_start_mj = number_of(i, "energy.start_mj", 1e6);
    gpu->energy_reset_s = number_of(i, "energy.reset_s", INFINITY);
    gpu->gain = number_of(i, "gain", 1);
    gpu->step_mw = number_of(i, "step_mw", 1);
    gpu->module_w = number_of(i, "module_w", 200);
    snprintf(gpu->scopes, sizeof gpu->scopes, "%s", text_of(i, "scopes", "gpu"));
}

/* The last instant at or before t at which something that happens every period happened. */
static double last_update(double t, double period, double phase) {
    /* An instant of whole nanoseconds that is an update is not to be missed by the last bit of a double. */
    return phase + floor((t - phase) / period + 1e-9) * period;
}

/* A number that is asked for, or NVML's status; *value is left alone where there is none. */
static int answer(int status, double value, double *out) {
    if (status > OK) return status;
    *out = status == ZERO ? 0 : status == GARBAGE ? GARBAGE_VALUE : value;
    return OK;
}

static int power_mw(const Gpu *gpu, const Sensor *sensor, double extra_w, double t, double *out) {
    double u = last_update(t, sensor->period, sensor->phase);
    double watts = (integral(&gpu->power, u) - integral(&gpu->power, u - sensor->window)) / sensor->window + extra_w;
    return answer(status_at(&sensor->status, t), gpu->step_mw * round(1e3 * gpu->gain * watts / gpu->step_mw), out);
}

static int returns(int gpu, const char *function) {
    char key[96];
    snprintf(key, sizeof key, "return.%s", function);
    if (!text_of(gpu, key, NULL)) return OK;
    Script script = script_of(gpu, key, "ok");
    return status_at(&script, now_s());
}

/* ---- What NVML exports. ---- */

typedef Gpu *Device;
typedef struct {
    uint32_t fieldId, scopeId;
    int64_t timestamp, latencyUsec;
    int valueType, nvmlReturn;
    union { double d; uint32_t ui; unsigned long long ull; } value;
} FieldValue;

#define STOP_IF_IT_FAILS(gpu) \
    if (!users) return UNINITIALIZED; \
    if (returns(gpu, __func__) != OK) return returns(gpu, __func__)

EXPORT int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!users) {
        read_lines();
        const char *clock = text_of(0, "clock", "virtual");
        if (strcmp(clock, "real") && strcmp(clock, "virtual")) give_up("no such clock", clock);
        real_clock = !strcmp(clock, "real");
        if (!started_s) started_s = seconds(CLOCK_MONOTONIC);
        call_s = 1e-6 * number_of(0, "call_us", 0);
        gpu_count = (int)number_of(0, "gpus", 1);
        if (gpu_count < 0 || gpu_count > MAX_GPUS) give_up("too many", "gpus");
        for (int i = 0; i < gpu_count; i++) {
            set_up(&gpus[i], i);
            instances[i] = gpus[i];
            instances[i].mig = 1;
        }
        note_cpu_time(now_s());
    }
    int status = returns(0, "nvmlInitWithFlags");
    users += status == OK;
    return status;
}

EXPORT int nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    users--;
    return OK;
}

EXPORT const char *nvmlErrorString(int status) {
    static char text[64];
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status) return statuses[i].word;
    snprintf(text, sizeof text, "error %d", status);
    return text;
}

static int give_text(const char *text, char *out, unsigned length) {
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return OK;
}

EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned length) {
    STOP_IF_IT_FAILS(0);
    return give_text(text_of(0, "driver", "550.54.15"), out, length);
}

EXPORT int nvmlSystemGetCudaDriverVersion(int *out) {
    STOP_IF_IT_FAILS(0);
    *out = (int)number_of(0, "cuda_driver", 12040);
    return OK;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned *out) {
    STOP_IF_IT_FAILS(0);
    *out = (unsigned)gpu_count;
    return OK;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *out) {
    if ((int)index >= gpu_count) return INVALID;
    STOP_IF_IT_FAILS((int)index);
    *out = &gpus[index];
    return OK;
}

static const char *uuid_of(int gpu) {
    static char text[MAX_GPUS][64];
    snprintf(text[gpu], sizeof text[0], "GPU-%08d-1111-2222-3333-444444444444", gpu);
    return text_of(gpu, "uuid", text[gpu]);
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, Device *out) {
    STOP_IF_IT_FAILS(0);
    for (int i = 0; i < gpu_count; i++) {
        if (!strcmp(uuid, uuid_of(i))) *out = &gpus[i];
        else if (!strcmp(uuid, text_of(i, "mig_uuid", ""))) *out = &instances[i];
        else continue;
        return OK;
    }
    return NOT_FOUND;
}

EXPORT int nvmlDeviceGetName(Device gpu, char *out, unsigned length) {
    STOP_IF_IT_FAILS(gpu->number);
    return give_text(text_of(gpu->number, "name", "NVIDIA RTX A5000"), out, length);
}

EXPORT int nvmlDeviceGetUUID(Device gpu, char *out, unsigned length) {
    STOP_IF_IT_FAILS(gpu->number);
    return give_text(gpu->mig ? text_of(gpu->number, "mig_uuid", "") : uuid_of(gpu->number), out, length);
}

EXPORT int nvmlDeviceGetVbiosVersion(Device gpu, char *out, unsigned length) {
    STOP_IF_IT_FAILS(gpu->number);
    return give_text(text_of(gpu->number, "vbios", "94.02.6A.00.01"), out, length);
}

EXPORT int nvmlDeviceGetCudaComputeCapability(Device gpu, int *major, int *minor) {
    STOP_IF_IT_FAILS(gpu->number);
    return sscanf(text_of(gpu->number, "capability", "8.6"), "%d.%d", major, minor) == 2 ? OK : NOT_SUPPORTED;
}

static int scripted(int gpu, const char *key, const char *otherwise, double *out) {
    Script script = script_of(gpu, key, otherwise);
    int i = index_at(&script, now_s());
    return answer(script.status[i], script.value[i], out);
}

static int scripted_unsigned(int gpu, const char *key, const char *otherwise, unsigned *out) {
    double value = 0;
    int status = scripted(gpu, key, otherwise, &value);
    if (status == OK) *out = (unsigned)value;
    return status;
}

#define NUMBER(function, key, otherwise) \
    EXPORT int function(Device gpu, unsigned *out) { \
        STOP_IF_IT_FAILS(gpu->number); \
        return scripted_unsigned(gpu->number, key, otherwise, out); \
    }
#define NUMBER_BY_CLOCK(function, sm_key, sm_otherwise, memory_key, memory_otherwise) \
    EXPORT int function(Device gpu, int clock, unsigned *out) { \
        STOP_IF_IT_FAILS(gpu->number); \
        if (clock == 1) return scripted_unsigned(gpu->number, sm_key, sm_otherwise, out); \
        if (clock == 2) return scripted_unsigned(gpu->number, memory_key, memory_otherwise, out); \
        return INVALID; \
    }
#define CURRENT_AND_PENDING(function, key, otherwise) \
    EXPORT int function(Device gpu, unsigned *current, unsigned *pending) { \
        STOP_IF_IT_FAILS(gpu->number); \
        int status = scripted_unsigned(gpu->number, key, otherwise, current); \
        *pending = *current; \
        return status; \
    }
#define REASONS(function) \
    EXPORT int function(Device gpu, unsigned long long *out) { \
        STOP_IF_IT_FAILS(gpu->number); \
        double value = 0; \
        int status = scripted(gpu->number, "throttle", "0", &value); \
        if (status == OK) *out = (unsigned long long)value; \
        return status; \
    }
#define PROCESSES(function, key) \
    EXPORT int function(Device gpu, unsigned *count, void *infos) { \
        STOP_IF_IT_FAILS(gpu->number); \
        return processes(gpu->number, key, count, infos); \
    }

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } Process;

static int processes(int gpu, const char *key, unsigned *count, void *infos) {
    unsigned there = 0, room = *count;
    int status = scripted_unsigned(gpu, key, "0", &there);
    if (status != OK) return status;
    *count = there;
    if (there > room) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < there; i++) {
        int own = i == 0 && number_of(gpu, "own_process", 0) != 0;
        ((Process *)infos)[i] = (Process){.pid = own ? (unsigned)getpid() : 1000000000u + i};
    }
    return OK;
}

NUMBER(nvmlDeviceGetPowerManagementLimit, "limit_mw", "230000")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, "default_limit_mw", "230000")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, "enforced_limit_mw", "230000")
NUMBER(nvmlDeviceGetPersistenceMode, "persistence", "1")
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation", "4")
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width", "16")
NUMBER(nvmlDeviceGetPerformanceState, "pstate", "0")
NUMBER_BY_CLOCK(nvmlDeviceGetClockInfo, "sm_clock", "1695", "memory_clock", "8001")
NUMBER_BY_CLOCK(nvmlDeviceGetMaxClockInfo, "max_sm_clock", "2100", "max_memory_clock", "8001")
NUMBER_BY_CLOCK(nvmlDeviceGetApplicationsClock, "application_sm_clock", "1695", "application_memory_clock", "8001")
CURRENT_AND_PENDING(nvmlDeviceGetEccMode, "ecc", "0")
REASONS(nvmlDeviceGetCurrentClocksThrottleReasons)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, "compute_processes")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, "graphics_processes")

EXPORT int nvmlDeviceGetTemperature(Device gpu, int sensor, unsigned *out) {
    STOP_IF_IT_FAILS(gpu->number);
    return sensor == 0 ? scripted_unsigned(gpu->number, "temperature", "45", out) : INVALID;
}

EXPORT int nvmlDeviceGetUtilizationRates(Device gpu, unsigned *gpu_and_memory) {
    STOP_IF_IT_FAILS(gpu->number);
    gpu_and_memory[1] = 0;
    return scripted_unsigned(gpu->number, "utilisation", "50", gpu_and_memory);
}

EXPORT int nvmlDeviceGetPowerUsage(Device gpu, unsigned *out) {
    STOP_IF_IT_FAILS(gpu->number);
    double value = 0;
    int status = gpu->mig ? NOT_SUPPORTED : power_mw(gpu, &gpu->usage, 0, call_time_s(), &value);
    if (status == OK) *out = (unsigned)value;
    return status;
}

#if OLD_DRIVER > 375
NUMBER(nvmlDeviceGetArchitecture, "architecture", "7")
CURRENT_AND_PENDING(nvmlDeviceGetMigMode, "mig", "not_supported")

EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device instance, Device *out) {
    STOP_IF_IT_FAILS(instance->number);
    if (!instance->mig) return INVALID;
    *out = &gpus[instance->number];
    return OK;
}

static int energy_mj(const Gpu *gpu, double t, double *out) {
    double u = last_update(t, gpu->energy_period, gpu->energy_phase);
    double since = integral(&gpu->power, u), start = gpu->energy_start_mj;
    if (u >= gpu->energy_reset_s) {
        since -= integral(&gpu->power, gpu->energy_reset_s);
        start = 0;
    }
    double jump = gpu->energy_jump_mj.value[index_at(&gpu->energy_jump_mj, t)];
    /* Sums that are whole millijoules are not to fall below them by the last bit of a double. */
    if (status_at(&gpu->energy, t) == GARBAGE) {
        *out = 18e18;
        return OK;
    }
    return answer(status_at(&gpu->energy, t), start + jump + floor(1e3 * gpu->gain * since + 1e-6), out);
}

EXPORT int nvmlDeviceGetTotalEnergyConsumption(Device gpu, unsigned long long *out) {
    STOP_IF_IT_FAILS(gpu->number);
    double value = 0;
    int status = energy_mj(gpu, call_time_s(), &value);
    if (status == OK) *out = (unsigned long long)value;
    return status;
}

static int has_scope(const Gpu *gpu, unsigned scope) {
    if (!strcmp(gpu->scopes, "both")) return scope <= 1;
    return scope == (!strcmp(gpu->scopes, "module") ? 1u : 0u);
}

static int power_field(const Gpu *gpu, const Sensor *sensor, FieldValue *field, double t) {
    double value = 0;
    if (OLD_DRIVER < 530 || !has_scope(gpu, field->scopeId)) return NOT_SUPPORTED;
    int status = power_mw(gpu, sensor, field->scopeId ? gpu->module_w : 0, t, &value);
    field->valueType = 1;
    field->value.ui = (uint32_t)value;
    return status;
}

static int energy_field(const Gpu *gpu, FieldValue *field, double t) {
    double value = 0;
    int status = answer(status_at(&gpu->energy_field, t), 0, &value);
    if (status == OK) status = energy_mj(gpu, t, &value);
    field->valueType = 3;
    field->value.ull = (unsigned long long)value;
    return status;
}

EXPORT int nvmlDeviceGetFieldValues(Device gpu, int count, FieldValue *fields) {
    STOP_IF_IT_FAILS(gpu->number);
    double t = call_time_s();
    for (int i = 0; i < count; i++) {
        FieldValue *field = &fields[i];
        field->timestamp = (int64_t)(1e6 * t);
        field->nvmlReturn = field->fieldId == 186   ? power_field(gpu, &gpu->instant, field, t)
                            : field->fieldId == 185 ? power_field(gpu, &gpu->average, field, t)
                            : field->fieldId == 83  ? energy_field(gpu, field, t)
                                                    : INVALID;
        if (field->nvmlReturn != OK) field->value.ull = 0xdeadbeefdeadbeefULL; /* whoever reads it shall notice */
    }
    return OK;
}
#endif

#if OLD_DRIVER > 520
REASONS(nvmlDeviceGetCurrentClocksEventReasons)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "compute_processes")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "graphics_processes")
#endif
