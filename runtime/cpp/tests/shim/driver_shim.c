/* The few functions of libcuda.so.1 that the probe calls. What they answer is read from the environment. */

#include <stdio.h>
#include <stdlib.h>

static int number(const char* name, int otherwise) {
    const char* text = getenv(name);
    return text == NULL ? otherwise : atoi(text);
}

int cuInit(unsigned int flags) {
    (void)flags;
    return number("SHIM_CUINIT", 0);
}

int cuDeviceGetCount(int* count) {
    *count = number("SHIM_DEVICES", 2);
    return number("SHIM_COUNT_STATUS", 0);
}

int cuDeviceGetName(char* name, int size, int device) {
    snprintf(name, (size_t)size, "Shim GPU %d", device);
    return number("SHIM_NAME_STATUS", 0);
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? 8 : 6;
    return number("SHIM_ATTRIBUTE_STATUS", 0);
}
